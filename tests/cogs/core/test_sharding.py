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
def test_shards_are_written_as_numbers_and_ranges(text, ids):
    assert parse_shards(text) == ids


@pytest.mark.parametrize("text", ["x", "-1", "3-1", "1-2-3", "1.5", "0-"])
def test_a_wrong_range_is_told_as_a_wrong_setting(text):
    with pytest.raises(ValueError, match="shard"):
        parse_shards(text)
    with pytest.raises(ValidationError) as caught:
        Config(_env_file=None, shard_ids=text)
    assert "SHARD_IDS" in format_validation_error(caught.value)


def test_the_same_shards_have_the_same_name_and_all_of_them_none():
    assert format_shards((), None) == format_shards((), 4) == format_shards((0, 1, 2, 3), 4) == ""
    assert format_shards((0, 1, 2, 5, 7, 8), 9) == "0-2,5,7-8"


def test_one_process_does_what_is_done_once():
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
def test_settings_that_contradict_each_other_are_told_at_the_start(values, words):
    with pytest.raises(DarkroomError, match=words):
        _ = Config(_env_file=None, **values).process_name


def test_a_part_needs_a_database_in_common():
    settings = Config(_env_file=None, shard_ids="4-7", shard_count="8", database_url=POSTGRESQL)
    assert settings.process_name == "4-7" and Config(_env_file=None, shard_count="", shard_ids="").process_name == ""
