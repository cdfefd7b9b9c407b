"""Bring the tables of a database to the version of this code.

An upgrade is one transaction, so a crash at any statement leaves the earlier version. A SQLite file is checked at each start
and copied before an upgrade.
"""

import logging
import os
import time
from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)
MIGRATIONS: Final = Path(__file__).with_name("migrations")
MIGRATION_LOCK_ID: Final = 0x6461726B726F6F6D  # "darkroom" in ASCII
OWNER_ONLY: Final = 0o600
COPY_DAYS: Final = 7  # a copy holds what members have deleted since


class SchemaError(DarkroomError):
    """The database is damaged, or of a newer version."""


def upgrade(connection: Connection, target: str = "head") -> None:
    """Upgrade the tables to ``target`` in one transaction; raises `SchemaError`.

    A connection to SQLite must begin no transactions by itself (``isolation_level=None``): pysqlite begins none before DDL.
    """
    if connection.dialect.name == "sqlite":
        _prepare_file(connection)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    if connection.dialect.name == "postgresql":  # processes that start at once migrate one after another
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK_ID)))
    if _current_version(connection) != _scripts().get_revision(target).revision:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, target)
    connection.commit()


def restrict_access(path: Path) -> None:
    """Create the folder and the file of a database; only the owner may read the file.

    SQLite gives its other files the same mode. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, OWNER_ONLY))
    if path.stat().st_mode & 0o077:
        path.chmod(OWNER_ONLY)


def delete_old_copies(path: Path) -> None:
    """Delete the copies of the database ``path`` that are older than `COPY_DAYS`."""
    for copy in path.parent.glob(f"{path.name}.*.copy"):
        if time.time() - copy.stat().st_mtime > COPY_DAYS * 86_400:
            copy.unlink(missing_ok=True)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _current_version(connection: Connection) -> str | None:
    """Return the version of the tables, None without any; raises `SchemaError`."""
    version = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in _scripts().walk_revisions()}
    if version is not None and version not in known:
        raise SchemaError(
            f"The database is of a newer version of Darkroom ({version}). Update Darkroom, or set DATABASE_URL to another one."
        )
    return version


def _prepare_file(connection: Connection) -> None:
    path = Path(connection.engine.url.database or "")
    problem = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if problem != "ok":
        details = " ".join(str(problem).split())
        raise SchemaError(
            f"The database {path} is damaged ({details}). Put a copy in its place, or move it away to begin with an empty one."
        )
    version = _current_version(connection)
    if version not in (None, _scripts().get_current_head()):
        copy = path.with_name(f"{path.name}.{version}.copy")
        _copy(connection, copy)
        log.info("the database was copied to %s before its upgrade", copy)


def _copy(connection: Connection, copy: Path) -> None:
    unfinished = copy.with_suffix(".tmp")
    unfinished.unlink(missing_ok=True)
    restrict_access(unfinished)
    connection.exec_driver_sql("VACUUM INTO ?", (str(unfinished),))
    with open(unfinished, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, copy)
