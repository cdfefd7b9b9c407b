"""What a start does to the tables: an upgrade is whole or did not happen, and what cannot be used ends in one sentence."""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import stat

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event

from cogs.core.storage import schema
from cogs.core.storage.database import Database, DatabaseUnavailableError
from cogs.core.storage.short_ids import read_short_id
from cogs.core.storage.usage import QuotaStore
from tests.support.databases import new_sqlite

FIRST_VERSION = "0001"
PROMPT = "an old fox"


def head():
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    return ScriptDirectory.from_config(config).get_current_head()


def upgrade(path, on_statement=lambda: None, target="head"):
    """Upgrade the file as the bot does; ``on_statement`` is called before each statement, and before the commit."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"isolation_level": None})

    @event.listens_for(engine, "connect")
    def configure(connection, _):
        connection.execute("PRAGMA journal_mode=WAL")

    event.listen(engine, "before_cursor_execute", lambda *_: on_statement())
    event.listen(engine, "commit", lambda _: on_statement())
    with contextlib.closing(engine.connect()) as connection:
        schema.upgrade(connection, target)
    engine.dispose()


def structure(path):
    """Return all tables and indexes, and the version."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = sorted(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        has_version = any(name == "alembic_version" for name, _ in found)
        return found, connection.execute("SELECT * FROM alembic_version").fetchall() if has_version else []


@pytest.fixture(scope="module", params=["empty", "old"])
def before(request, tmp_path_factory):
    """A folder with no database, or with one of the first version that has a row."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "old":
        path = folder / "darkroom.sqlite"
        upgrade(path, target=FIRST_VERSION)
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            columns = "id, owner, channel_id, application_id, token, expires, private, token_only, request, pictures"
            values = f"1, 7, 8, 9, '', '2026-01-01', 0, 0, '{{\"prompt\": \"{PROMPT}\"}}', '[\"{'a' * 64}\"]'"
            rest = "attempts, state, created, changed"
            connection.execute(
                f"INSERT INTO creations ({columns}, {rest}) VALUES ({values}, 0, 'delivered', '2026-01-01', '2026-01-01')"
            )
    return folder


def copied(folder, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    return target / "darkroom.sqlite"


def count_statements(folder, tmp_path):
    statements = []
    upgrade(copied(folder, tmp_path / "counted"), lambda: statements.append(None))
    return len(statements)


def test_upgrade_is_whole_or_did_not_happen_at_every_statement(before, tmp_path):
    """What a killed process leaves is what lies on the disk at that moment: each is copied and started again."""
    left = {}
    path = copied(before, tmp_path / "upgraded")
    points = 0

    def keep():
        nonlocal points
        points += 1
        files = {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}
        left.setdefault(tuple(sorted(files.items())), points)

    upgrade(path, keep)
    wanted = structure(path)
    kinds = []
    for number, files in enumerate(left):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, data in files:
            (folder / name).write_bytes(data)
        again = folder / "darkroom.sqlite"
        kinds.append(structure(again)[1])
        upgrade(again)
        assert structure(again) == wanted
    print(f"\n{points} statements, {len(left)} states of the disk, versions found: {kinds}")
    assert points > 60 and all(kind in ([], [(FIRST_VERSION,)]) for kind in kinds)
    assert_kept(path, before)


def test_killed_upgrade_is_repeated_by_the_next_start(before, tmp_path, pytestconfig):
    kills = max(1, pytestconfig.getoption("kills") // 3)
    points = count_statements(before, tmp_path)
    stride = max(1, points // kills)
    wanted = structure(tmp_path / "counted" / "darkroom.sqlite")
    broken = 0
    for point in range(1, points + 1, stride):
        path = copied(before, tmp_path / "killed")
        kill_at(path, point)
        upgrade(path)
        broken += structure(path) != wanted
        assert_kept(path, before)
    print(f"\n{len(range(1, points + 1, stride))} of {points} kill points, {broken} broken")
    assert not broken


def kill_at(path, point):
    left = point

    def kill():
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    process = os.fork()
    if not process:
        try:
            upgrade(path, kill)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status)


def assert_kept(path, before):
    if before.name.startswith("old"):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert PROMPT in connection.execute("SELECT request FROM creations").fetchone()[0]
            assert connection.execute("SELECT name, creation_id FROM files").fetchall() == [("a" * 64, 1)]
            (short_id,) = connection.execute("SELECT short_id FROM creations").fetchone()
            assert read_short_id(short_id) == short_id


async def test_upgrade_copies_the_file_first_for_its_owner_only(tmp_path):
    path = tmp_path / "darkroom.sqlite"
    await asyncio.to_thread(upgrade, path, target=FIRST_VERSION)
    async with Database(f"sqlite+aiosqlite:///{path}") as database:
        await QuotaStore(database).delete_past()
        copy = tmp_path / f"darkroom.sqlite.{FIRST_VERSION}.copy"
        assert structure(copy)[1] == [(FIRST_VERSION,)] and structure(path)[1] == [(head(),)]
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        assert set(modes.values()) == {0o600} and "darkroom.sqlite-wal" in modes
    schema.delete_old_copies(path)
    assert copy.exists()
    os.utime(copy, (0, 0))
    schema.delete_old_copies(path)
    assert not copy.exists() and path.exists()


async def start_error(url):
    with pytest.raises(DatabaseUnavailableError) as caught:
        async with Database(url):
            pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_database_of_a_newer_version_is_refused_untouched(database_url):
    async with Database(database_url) as database, database.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert "newer version of Darkroom (9999). Update Darkroom" in await start_error(database_url)


@pytest.mark.parametrize("damage", ["page", "header", "truncated", "text"])
async def test_damaged_file_is_refused_in_one_sentence(tmp_path, damage):
    path = tmp_path / "darkroom.sqlite"
    url = new_sqlite(path)
    data = bytearray(path.read_bytes())
    if damage == "page":
        data[4096:8192] = os.urandom(4096)
    elif damage == "header":
        data[0:16] = os.urandom(16)
    path.write_bytes({"truncated": data[: len(data) // 2], "text": b"not a database at all" * 300}.get(damage, data))
    sentence = await start_error(url)
    assert any(word in sentence for word in ("damaged", "malformed", "not a database"))


MALFORMED = [
    "nonsense",
    "",
    "postgresql+asyncpg://darkroom:secret@host:port/name",
    "postgresql+asyncpg://darkroom:secret@[::1/name",
    "postgresql+asyncpg://darkroom:se@cr:et/@127.0.0.1:1/name",
    "postgresql+asyncpg://darkroom:secret@127.0.0.1:1/name?nonsense=1",
    "postgresql+asyncpg://darkroom:secret@127.0.0.1:1/name?ssl=nonsense",
    "postgresql+asyncpg://darkroom:secret@127.0.0.1:99999/name",
    "postgresql://darkroom:secret@127.0.0.1/name",
    "mysql://darkroom:secret@127.0.0.1/name",
    "sqlite:///x.sqlite",
    "sqlite+aiosqlite://",
    "sqlite+aiosqlite:///:memory:",
    "sqlite+aiosqlite:////proc/no/way.sqlite",
    "sqlite+aiosqlite:////",
]


@pytest.mark.parametrize("url", MALFORMED)
async def test_malformed_url_is_refused_in_one_sentence(url):
    sentence = await start_error(url)
    assert "DATABASE_URL" in sentence and "secret" not in sentence.replace("[secret]", "") and "et/" not in sentence


@pytest.mark.parametrize("change", [("/test", "/missing"), ("darkroom@", "nobody@")], ids=["database", "user"])
async def test_server_that_refuses_the_login_is_named_in_one_sentence(postgresql, change):
    assert "DATABASE_URL cannot be used" in await start_error(postgresql.create_database().replace(*change))
