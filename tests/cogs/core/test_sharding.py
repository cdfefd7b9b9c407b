import pytest
from pydantic import ValidationError

from cogs.core.config import Config, format_validation_error
from cogs.core.sharding import format_shards, is_leader, parse_shards
from diffusion.errors import DarkroomError

POSTGRESQL = "postgresql+asyncpg://darkroom@db/darkroom"


@pytest.mark.parametrize(
    ("text", "ids"),
    [("", ()), ("5", (5,)), ("0-3", (0, 1, 2, 3)), (" 8, 0-2 ,1", (0, 1, 2, 8))],
)
def test_parse_shards_reads_numbers_and_ranges(text, ids):
    assert parse_shards(text) == ids


@pytest.mark.parametrize("text", ["x", "-1", "3-1", "1-2-3", "1.5", "0-"])
def test_parse_shards_rejects_wrong_ranges(text):
    with pytest.raises(ValueError, match="shard"):
        parse_shards(text)
    with pytest.raises(ValidationError) as caught:
        Config(_env_file=None, shard_ids=text)
    assert "SHARD_IDS" in format_validation_error(caught.value)


def test_format_shards_is_canonical_and_empty_for_all():
    assert format_shards((), None) == format_shards((), 4) == format_shards((0, 1, 2, 3), 4) == ""
    assert format_shards((0, 1, 2, 5, 7, 8), 9) == "0-2,5,7-8"


def test_is_leader_holds_for_the_process_of_shard_0():
    assert is_leader(()) and is_leader((0, 1)) and not is_leader((2, 3))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"shard_ids": "0-1"}, "SHARD_COUNT"),
        ({"shard_ids": "0-4", "shard_count": 4}, "at most 3"),
        ({"shard_ids": ",".join(map(str, range(0, 256, 2))), "shard_count": 256}, "a range of shards"),
        ({"shard_ids": "0-1", "shard_count": 4}, "DATABASE_URL"),
        ({"shard_ids": "0-1", "shard_count": 4, "database_url": "sqlite+aiosqlite:///x"}, "DATABASE_URL"),
    ],
)
def test_process_name_rejects_contradictory_settings(values, words):
    with pytest.raises(DarkroomError, match=words):
        _ = Config(_env_file=None, **values).process_name


def test_process_name_lists_the_shards_of_a_part():
    settings = Config(_env_file=None, shard_ids="4-7", shard_count="8", database_url=POSTGRESQL)
    assert settings.process_name == "4-7" and Config(_env_file=None, shard_count="", shard_ids="").process_name == ""
