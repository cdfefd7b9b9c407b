"""Copies of whole databases, as they are at one moment: SQLite files, whichever database they come from."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from cogs.core.storage import (
    schema,
    stores,  # noqa: F401  (and with it all tables)
)
from cogs.core.storage.broadcasts import BroadcastRow
from cogs.core.storage.database import (
    DATABASE_ERRORS,
    MIGRATION_TIMEOUT_SECONDS,
    Base,
    Database,
    DatabaseUnavailableError,
    first_line,
    waits_until,
)
from cogs.core.storage.images import DISK_FULL_ERRORS
from cogs.core.storage.lease import ProcessRow
from cogs.core.storage.reports import ReportRow
from diffusion.errors import DarkroomError

ROWS_AT_A_TIME: Final = 1000
NOT_COPIED: Final = (ProcessRow.__table__, BroadcastRow.__table__, ReportRow.__table__)  # about processes that run now


async def copy_database(url: str, target: Path) -> None:
    """Copy the database at ``url`` into a new SQLite file, while others write to it; raises `DarkroomError`."""
    schema.restrict_access(target)
    if is_sqlite(url):
        await asyncio.to_thread(_copy_file, sqlite_path(url), target)
    else:
        await _copy_server(url, target)


async def check_empty(url: str) -> None:
    """Raise `DarkroomError` unless the database at ``url`` has room for a copy."""
    if is_sqlite(url):
        path = sqlite_path(url)
        used = [place for place in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))) if place.exists()]
        if used:
            raise DarkroomError(
                f"There is a database already: {used[0]}. Move it away, or set another DATA_DIR or DATABASE_URL."
            )
        return
    async with Database(url) as database, database.reading("The database of DATABASE_URL cannot be read.") as session:
        for table in Base.metadata.sorted_tables:
            if table not in NOT_COPIED and (await session.execute(select(table).limit(1))).first():
                raise DarkroomError("The database of DATABASE_URL is not empty. Create a new one and name it there.")


async def place_database(source: Path, url: str) -> None:
    """Put the copy ``source`` at ``url``, whole or not at all; raises `DarkroomError`."""
    if is_sqlite(url):
        await asyncio.to_thread(_place_file, source, sqlite_path(url))
    else:
        await _fill_server(url, source)


def check_file(path: Path, what: str) -> None:
    """Raise `DarkroomError` if a SQLite file, called ``what``, is damaged."""
    try:
        with contextlib.closing(sqlite3.connect(_read_only(path), uri=True)) as connection:
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        problem = str(error)
    if problem != "ok":
        raise DarkroomError(f"{what} is damaged ({' '.join(str(problem).split())}). Use another one.")


def version_of(path: Path) -> str:
    """Return the version of the tables of a SQLite file."""
    with contextlib.closing(sqlite3.connect(_read_only(path), uri=True)) as connection:
        version: str = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        return version


def known_versions() -> set[str]:
    """Return all versions of the tables that this code can upgrade."""
    return {script.revision for script in _scripts().walk_revisions()}


def is_sqlite(url: str) -> bool:
    """Return whether ``url`` names a SQLite file."""
    return make_url(url).get_backend_name() == "sqlite"


def sqlite_path(url: str) -> Path:
    """Return the file that ``url`` names."""
    return Path(make_url(url).database or "")


def is_disk_full(error: BaseException) -> bool:
    """Return whether ``error`` or its cause says that a disk is full."""
    causes = [error, error.__cause__, getattr(error, "orig", None)]
    return any(getattr(each, "errno", None) in DISK_FULL_ERRORS or "disk is full" in str(each) for each in causes if each)


def _copy_file(source: Path, target: Path) -> None:
    """Copy a SQLite file as it is at one moment, while others write to it."""
    if not source.exists():
        raise DarkroomError(f"There is no database at {source}. Set DATA_DIR or DATABASE_URL as for the bot.")
    reading = sqlite3.connect(_read_only(source), uri=True)
    writing = sqlite3.connect(target)
    with contextlib.closing(reading), contextlib.closing(writing):
        reading.backup(writing)
        writing.execute("PRAGMA journal_mode=DELETE")  # one file without a log beside it
    check_file(target, "The database")


async def _copy_server(url: str, target: Path) -> None:
    """Copy all tables as they are at one moment into a new SQLite file."""
    with _migrated(target) as writing:
        engine = create_async_engine(url, hide_parameters=True)
        try:
            async with engine.connect() as connection:
                options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
                reading = await connection.execution_options(**options)
                version = await reading.scalar(text("SELECT version_num FROM alembic_version"))
                if version != _scripts().get_current_head():
                    raise DarkroomError(
                        f"The database is of another version of Darkroom ({version}). Use the version that the bot is of."
                    )
                for table in Base.metadata.sorted_tables:
                    if table not in NOT_COPIED:
                        async with reading.stream(select(table)) as rows:
                            async for part in rows.mappings().partitions(ROWS_AT_A_TIME):
                                writing.execute(insert(table), [dict(row) for row in part])
        except (*DATABASE_ERRORS, ImportError) as error:
            if is_disk_full(error):
                raise
            raise DatabaseUnavailableError(f"The database of DATABASE_URL cannot be read: {first_line(error)}") from error
        finally:
            await engine.dispose()


async def _fill_server(url: str, source: Path) -> None:
    """Write all rows of a SQLite file to the server, in one transaction."""
    with tempfile.TemporaryDirectory(prefix="darkroom-") as temporary:
        path = Path(temporary) / source.name
        await asyncio.to_thread(shutil.copyfile, source, path)
        waits_until.set(asyncio.get_running_loop().time() + MIGRATION_TIMEOUT_SECONDS)
        with _migrated(path) as reading:
            async with (
                Database(url) as database,
                database.transaction("The backup cannot be written to DATABASE_URL.") as session,
            ):
                for table in Base.metadata.sorted_tables:
                    if table not in NOT_COPIED:
                        for part in reading.execute(select(table)).mappings().partitions(ROWS_AT_A_TIME):
                            await session.execute(insert(table), [dict(row) for row in part])


@contextlib.contextmanager
def _migrated(path: Path) -> Iterator[Connection]:
    """Upgrade a SQLite file and yield a connection to it, whose changes are committed at the end."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"isolation_level": None})
    try:
        with engine.connect() as connection:
            schema.upgrade(connection)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        with engine.begin() as connection:
            yield connection
    except schema.SchemaError as error:
        raise DatabaseUnavailableError(str(error)) from error
    finally:
        engine.dispose()


def _place_file(source: Path, target: Path) -> None:
    """Put a copy of a SQLite file in its place, whole or not at all; raises `DarkroomError`."""
    unfinished = target.with_name(f"{target.name}.restored.tmp")
    try:
        unfinished.unlink(missing_ok=True)
        schema.restrict_access(unfinished)
        shutil.copyfile(source, unfinished)
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise DarkroomError(
            f"The database cannot be written to {target}: {error.strerror}. Make room and restore again."
        ) from error


def _read_only(path: Path) -> str:
    return f"{path.resolve().as_uri()}?mode=ro"


def _scripts() -> ScriptDirectory:
    config = AlembicConfig()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    return ScriptDirectory.from_config(config)
