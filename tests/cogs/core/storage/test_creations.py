import asyncio
import contextlib
import json
import logging
import sqlite3
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from cogs.core.storage import creations, usage
from cogs.core.storage.creations import CreationStore, CreationStoreError, State, request_from_json, request_to_json
from cogs.core.storage.database import Database, DatabaseUnavailableError
from cogs.core.storage.short_ids import read_short_id
from cogs.core.storage.usage import DIRECT_MESSAGES, QuotaStore, UsageRow
from diffusion.request import ImageRequest
from tests.support.creations import TOKEN, creation
from tests.support.databases import new_sqlite
from tests.support.waiting import WAIT_SECONDS


@contextlib.asynccontextmanager
async def opened(url):
    async with Database(url) as database:
        yield CreationStore(database)


async def test_unfinished_returns_stored_creations_oldest_first(database_url):
    async with opened(database_url) as creation_store:
        await creation_store.add(creation(2, guild_id=2**62))
        await creation_store.add(creation(1))
    async with opened(database_url) as creation_store:
        first, second = await creation_store.unfinished()
    assert (first.id, second.id, second.guild_id) == (1, 2, 2**62)
    assert [read_short_id(each.short_id) for each in (first, second)] == [first.short_id, second.short_id]
    assert first.state == State.ACCEPTED and first.expires.tzinfo is UTC
    assert request_from_json(first.request, None) == ImageRequest("fox", seed=5)


async def test_finish_is_final_and_erases_the_token(database_url):
    async with opened(database_url) as creation_store:
        await creation_store.add(row := creation())
        await creation_store.update(row, state=State.RENDERED, pictures=["a" * 64], message_id=3)
        await creation_store.finish(row, State.DELIVERED)
        await creation_store.update(row, state=State.RUNNING)
        assert await creation_store.unfinished() == []
        found = await creation_store.get_by_message(3)
    assert (found.state, found.token, found.pictures) == (State.DELIVERED, "", ["a" * 64])


async def test_add_takes_another_short_id_when_it_is_taken(database_url, monkeypatch, caplog):
    signs = iter("k7f2qh" * 3 + "m00000")
    monkeypatch.setattr(creations.secrets, "choice", lambda _: next(signs))
    async with Database(database_url) as database:
        creation_store = CreationStore(database)
        await creation_store.add(creation(1, counted=1))
        await creation_store.add(creation(2, counted=1))
        assert [(await creation_store.get_by_short_id(name)).id for name in ("k7f2qh", "m00000")] == [1, 2]
        assert await QuotaStore(database).used_today(7) == {DIRECT_MESSAGES: 2} and not caplog.records


async def test_store_accepts_many_writes_at_once(database_url):
    async with opened(database_url) as creation_store:
        rows = [creation(id) for id in range(1, 41)]
        await asyncio.gather(*map(creation_store.add, rows))
        await asyncio.gather(*(creation_store.finish(row, State.DELIVERED) for row in rows[:20]))
        assert len(await creation_store.unfinished()) == 20


async def test_used_today_counts_pictures_and_refunds_failures(database_url):
    async with Database(database_url) as database:
        creation_store, quota_store = CreationStore(database), QuotaStore(database)
        await creation_store.add(made := creation(1, guild_id=3, counted=2))
        await creation_store.add(later := creation(2))
        await creation_store.update(later, counted=4)
        assert await quota_store.used_today(7) == {3: 2, DIRECT_MESSAGES: 4}
        await creation_store.finish(later, State.CANCELLED)
        await creation_store.finish(later, State.FAILED)
        await creation_store.finish(made, State.DELIVERED)
        await creation_store.finish(made, State.FAILED)  # it has ended and stays so
        assert await quota_store.used_today(7) == {3: 2, DIRECT_MESSAGES: 0} and await quota_store.used_today(8) == {}


async def test_used_today_counts_simultaneous_requests(database_url):
    async with Database(database_url) as database:
        creation_store, quota_store = CreationStore(database), QuotaStore(database)
        rows = [creation(id, counted=2) for id in range(1, 11)]
        await asyncio.gather(*map(creation_store.add, rows))
        assert await quota_store.used_today(7) == {DIRECT_MESSAGES: 20}
        await asyncio.gather(*(creation_store.finish(row, State.CANCELLED) for row in rows[:5]))
        assert await quota_store.used_today(7) == {DIRECT_MESSAGES: 10}


async def test_delete_past_removes_the_usage_of_past_days(database_url):
    async with Database(database_url) as database:
        creation_store, quota_store = CreationStore(database), QuotaStore(database)
        now = datetime.now(UTC)
        await creation_store.add(old := creation(1, counted=1, created=now - timedelta(days=2)))
        await creation_store.add(creation(2, counted=1, created=now - timedelta(days=1)))
        await creation_store.add(creation(3, counted=1, created=now))
        await quota_store.delete_past()
        async with database.sessions() as session:
            assert len((await session.scalars(select(UsageRow))).all()) == 2
        await creation_store.finish(old, State.CANCELLED)
        assert await quota_store.used_today(7) == {DIRECT_MESSAGES: 1}


async def test_sqlite_uses_wal_mode(tmp_path):
    async with opened(f"sqlite+aiosqlite:///{tmp_path / 'new folder' / 'darkroom.sqlite'}") as creation_store:
        await creation_store.unfinished()
        connection = sqlite3.connect(tmp_path / "new folder" / "darkroom.sqlite")
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


async def test_migrations_create_the_schema_of_the_code(database_url):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    import cogs.core.generation.service  # noqa: F401  (and with it all tables)
    from cogs.core.storage.database import Base

    async with Database(database_url) as database, database.engine.connect() as connection:
        compare = lambda sync: compare_metadata(MigrationContext.configure(sync), Base.metadata)  # noqa: E731
        assert await connection.run_sync(compare) == []


BAD_URLS = [
    "nonsense",
    "sqlite:///x.sqlite",
    "no+driver://x",
    "sqlite+aiosqlite:////proc/no/way.sqlite",
    "postgresql+asyncpg://nobody@127.0.0.1:1/x",
]


@pytest.mark.parametrize("bad", BAD_URLS)
async def test_database_reports_an_unusable_url(bad):
    with pytest.raises(DatabaseUnavailableError, match="DATABASE_URL") as caught:
        async with Database(bad):
            pass
    assert "\n" not in str(caught.value)


async def test_add_reports_database_errors_without_the_token(database_url, caplog):
    caplog.set_level(logging.DEBUG)
    async with opened(database_url) as creation_store:
        await creation_store.add(row := creation())
        with pytest.raises(CreationStoreError, match="try again later") as caught:
            await creation_store.add(creation())  # the same id again
        async with creation_store._database.sessions.begin() as connection:
            await connection.execute(text("DROP TABLE creations"))
        await creation_store.update(row, state=State.RUNNING)  # logged, no more
        with pytest.raises(CreationStoreError):
            await creation_store.unfinished()
    texts = [caplog.text, repr(row), repr(caught.value.__cause__)]
    assert not any(TOKEN in text for text in texts)


async def test_update_is_repeated_after_a_database_error(database_url, caplog):
    async with opened(database_url) as creation_store:
        rows = [creation(id) for id in (1, 2, 3)]
        for row in rows:
            await creation_store.add(row)
        await rename(creation_store, "creations", "away")
        await creation_store.update(rows[0], state=State.RUNNING, message_id=5)
        await creation_store.update(rows[0], state=State.RENDERED)
        await creation_store.finish(rows[1], State.DELIVERED)
        await rename(creation_store, "away", "creations")
        await creation_store.update(rows[2], message_id=6)
        left = await creation_store.unfinished()
    assert [(row.id, row.state, row.message_id) for row in left] == [(1, State.RENDERED, 5), (3, State.ACCEPTED, 6)]


async def test_used_files_finds_files_of_any_creation(database_url, monkeypatch):
    monkeypatch.setattr(usage, "NAMES_PER_QUERY", 2)
    source, timelapse, picture, other, gone = (letter * 64 for letter in "abcde")
    async with opened(database_url) as creation_store:
        await creation_store.add(first := creation(1, source=source, pictures=[other, picture]))
        await creation_store.add(creation(2, timelapse=timelapse, pictures=[]))
        assert await creation_store.used_files([gone, source, timelapse, picture]) == {source, timelapse, picture}
        assert await creation_store.used_files([gone]) == await creation_store.used_files([]) == set()
        await creation_store.update(first, pictures=[gone])
        assert await creation_store.used_files([source, other, picture, gone]) == {source, gone}
        await creation_store.update(first, pictures=None, source=None)
        assert await creation_store.used_files([source, gone, timelapse]) == {timelapse}


async def rename(creation_store, table, other):
    async with creation_store._database.engine.begin() as connection:
        await connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {other}")


async def test_store_recovers_after_a_database_restart(postgresql, caplog):
    async with opened(postgresql.create_database()) as creation_store:
        await creation_store.add(row := creation(1))
        postgresql.stop("immediate")
        try:
            with pytest.raises(CreationStoreError, match="try again later"):
                await creation_store.add(creation(2))
            with pytest.raises(CreationStoreError, match="try again later"):
                await creation_store.unfinished()
            await creation_store.finish(row, State.DELIVERED)
        finally:
            postgresql.start()
        await creation_store.add(creation(3))
        await creation_store.update(creation(3), state=State.RUNNING)
        assert [(row.id, row.state) for row in await creation_store.unfinished()] == [(3, State.RUNNING)]
    assert TOKEN not in caplog.text


async def test_store_reconnects_after_a_restart_between_requests(postgresql):
    async with opened(postgresql.create_database()) as creation_store:
        await asyncio.gather(
            *(creation_store.add(creation(id)) for id in range(1, 11))
        )  # so that there are connections to lose
        await asyncio.to_thread(postgresql.stop, "fast")  # the loop must run to see that the connections are closed
        await asyncio.to_thread(postgresql.start)
        await asyncio.gather(*(creation_store.finish(creation(id), State.DELIVERED) for id in range(1, 11)))
        assert await creation_store.unfinished() == []


async def test_add_times_out_when_the_database_hangs(postgresql, monkeypatch, caplog):
    monkeypatch.setattr("cogs.core.storage.database.DATABASE_TIMEOUT_SECONDS", 0.5)
    async with opened(postgresql.create_database()) as creation_store:
        await creation_store.add(row := creation(1))
        with postgresql.hang():
            async with asyncio.timeout(WAIT_SECONDS):
                with pytest.raises(CreationStoreError, match="try again later"):
                    await creation_store.add(creation(2))
                await creation_store.update(row, message_id=5)
        await creation_store.update(row, state=State.RUNNING)
        assert [(row.id, row.message_id) for row in await creation_store.unfinished()] == [(1, 5)]


def test_request_from_json_inverts_request_to_json():
    image = Image.new("RGB", (8, 8))
    mask, branches = Image.new("L", (8, 8)), ((5, "dog"), (7, "cat"))
    request = ImageRequest("fox", "blurry", 64, 32, 9, 3.5, "ddim", 11, 2, image, 3, 4, mask=mask, branches=branches)
    assert set(request_to_json(request)) == {field.name for field in fields(ImageRequest)} - {"image", "mask"}
    assert request_from_json(json.loads(json.dumps(request_to_json(request))), image, mask) == request


def test_request_from_json_reads_older_requests():
    assert request_from_json({"prompt": "fox", "seed": 5}, None) == ImageRequest("fox", seed=5)


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "not committed"])
async def test_creation_is_added_once_if_the_connection_is_lost(database_url, monkeypatch, is_committed):
    lost = DBAPIError("INSERT", None, Exception("connection was closed"), connection_invalidated=True)
    async with Database(database_url) as database:
        transaction, losses = database.transaction, [lost]

        @contextlib.asynccontextmanager
        async def losing(sentence, failure, **options):
            try:
                async with transaction(sentence, failure, **options) as session:
                    yield session
                    if losses and not is_committed:
                        raise losses.pop()
            finally:
                error = losses.pop() if losses else None
            if error:
                raise failure(sentence) from error

        monkeypatch.setattr(database, "transaction", losing)
        await CreationStore(database).add(creation(1, counted=2))
        assert not losses
        assert [row.id for row in await CreationStore(database).unfinished()] == [1]
        assert await QuotaStore(database).used_today(7) == {DIRECT_MESSAGES: 2}


async def test_store_works_on_if_a_commit_fails_while_a_later_one_succeeds(tmp_path, monkeypatch):
    may_fail, may_end = asyncio.Event(), asyncio.Event()
    async with opened(new_sqlite(tmp_path / "darkroom.sqlite")) as creation_store:
        await creation_store.add(row := creation(1))
        transaction = creation_store._database.transaction

        @contextlib.asynccontextmanager
        async def failing(sentence, failure):
            await may_fail.wait()
            raise failure(sentence)
            yield

        @contextlib.asynccontextmanager
        async def succeeding(sentence, failure):
            async with transaction(sentence, failure) as session:
                yield session
            await may_end.wait()

        updates = []
        for kind, changes in ((failing, {"message_id": 5}), (succeeding, {"state": State.RUNNING})):
            monkeypatch.setattr(creation_store._database, "transaction", kind)
            updates.append(asyncio.create_task(creation_store.update(row, **changes)))
            await asyncio.sleep(0)
        may_fail.set()
        await updates[0]
        may_end.set()
        await updates[1]
        monkeypatch.setattr(creation_store._database, "transaction", transaction)
        await creation_store.add(other := creation(2))
        await creation_store.update(other, message_id=6)
        stored = await creation_store.unfinished()
        assert [(row.message_id, row.state) for row in stored] == [(5, State.RUNNING), (6, State.ACCEPTED)]
