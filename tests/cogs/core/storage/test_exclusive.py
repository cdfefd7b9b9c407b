"""A second bot on the data of a running one says so and does not start."""

import asyncio
import contextlib
import sys

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

import bot
from bot import Config, open_service
from cogs.core.storage import exclusive
from cogs.core.storage.exclusive import hold_shards, lock_data
from diffusion.errors import DarkroomError
from diffusion.serving.engine import Engine
from tests.support.databases import new_sqlite
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(exclusive, "DEAD_PROCESS_SECONDS", 0)


@pytest.fixture
def url(postgresql):
    return postgresql.create_database()


@pytest.fixture
def config(tiny_model, monkeypatch):
    monkeypatch.setattr(bot, "build_engine", lambda config: Engine(tiny_model))
    return lambda **settings: Config(_env_file=None, **{"database_url": "", "pictures_url": ""} | settings)


async def test_second_bot_on_a_folder_does_not_start(config, tmp_path):
    new_sqlite(tmp_path / "darkroom.sqlite")
    async with open_service(config(), tmp_path):
        with pytest.raises(DarkroomError, match=r"Another bot runs on .*darkroom already\. Stop it first, or give this one a"):
            async with open_service(config(), tmp_path):
                pass
    async with open_service(config(), tmp_path):
        pass


@pytest.mark.parametrize("shared", ["database_url", "pictures_url"])
async def test_second_bot_on_one_file_or_folder_of_the_first_does_not_start(shared, config, tmp_path):
    places = {"database_url": new_sqlite(tmp_path / "common" / "a.sqlite"), "pictures_url": str(tmp_path / "common" / "b")}
    for name in "01":
        new_sqlite(tmp_path / name / "darkroom.sqlite")
    async with open_service(config(**{shared: places[shared]}), tmp_path / "0"):
        with pytest.raises(DarkroomError, match="Another bot runs on"):
            async with open_service(config(**{shared: places[shared]}), tmp_path / "1"):
                pass


HOLD = """
import pathlib, sys
from cogs.core.storage.exclusive import lock_data
with lock_data([pathlib.Path(sys.argv[1])]):
    print("held", flush=True)
    sys.stdin.read()
"""


async def test_lock_ends_with_a_killed_process(tmp_path):
    place = tmp_path / "darkroom"
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, str(place), **pipes)
    assert await process.stdout.readline() == b"held\n"
    with pytest.raises(DarkroomError), lock_data([place]):
        pass
    process.kill()
    await process.communicate()
    with lock_data([place]):
        pass


def test_processes_with_other_shards_share_a_folder(tmp_path):
    place = tmp_path / "darkroom"
    with lock_data([place], "0-3"), lock_data([place], "4-7"), pytest.raises(DarkroomError), lock_data([place], "0-3"):
        pass


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        ((), (), False),
        ((), (0,), False),
        ((0, 1), (), False),
        ((0, 1), (1, 2), False),
        ((0, 1), (2, 3), True),
    ],
)
async def test_database_knows_which_process_serves_a_shard(first, second, allowed, url):
    expected = contextlib.nullcontext() if allowed else pytest.raises(DarkroomError, match="Another bot uses this database")
    async with hold_shards(url, first):
        with expected:
            async with hold_shards(url, second):
                pass
    async with hold_shards(url, second):
        pass


async def is_refused(url):
    try:
        async with hold_shards(url, ()):
            return False
    except DarkroomError as error:
        return "Another bot" in str(error)


async def test_locks_come_back_after_a_restart_of_postgresql(url, postgresql, monkeypatch):
    monkeypatch.setattr(exclusive, "CHECK_SECONDS", 0.05)
    async with hold_shards(url, ()):
        await asyncio.to_thread(postgresql.stop)
        await asyncio.to_thread(postgresql.start)
        await until(lambda: is_refused(url))


async def test_locks_come_back_when_another_bot_that_took_them_is_gone(url, monkeypatch, caplog):
    monkeypatch.setattr(exclusive, "CHECK_SECONDS", 1.0)  # time for the other bot
    engine = create_async_engine(url)
    others = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    async with hold_shards(url, ()):
        async with engine.begin() as connection:
            await connection.execute(others)
        async with hold_shards(url, ()):
            await until(lambda: "another bot uses this database" in caplog.text)
        await until(lambda: is_refused(url))
    await engine.dispose()


async def test_unreachable_database_is_told_in_a_sentence():
    with pytest.raises(DarkroomError, match="The database of DATABASE_URL cannot be used"):
        async with hold_shards("postgresql+asyncpg://u@127.0.0.1:1/d", ()):
            pass
