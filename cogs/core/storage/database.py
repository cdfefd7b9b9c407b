"""The database: connections, transactions, migrations, and the base of all tables."""

import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, DateTime, Dialect, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from diffusion.errors import DarkroomError
from diffusion.text import N_

log = logging.getLogger(__name__)
DATABASE_UNREACHABLE: Final = N_("I cannot reach my database at the moment. Please try again later.")
MIGRATIONS: Final = Path(__file__).with_name("migrations")
DATABASE_TIMEOUT_SECONDS: Final = 1.25  # Discord expects a first reply within three seconds
STARTUP_TIMEOUT_SECONDS: Final = 30.0  # no member waits yet, and other processes may be starting
MIGRATION_TIMEOUT_SECONDS: Final = 3600.0
MIGRATION_LOCK_ID: Final = 0x6461726B726F6F6D  # "darkroom" in ASCII
DATABASE_ERRORS: Final = (SQLAlchemyError, OSError)  # asyncpg raises OSError if the server is down
logging.getLogger("aiosqlite").setLevel(logging.INFO)  # its debug messages hold every value, tokens too


class DatabaseUnavailableError(DarkroomError):
    """The database cannot be opened, read or written."""


class Base(DeclarativeBase):
    """The base of all tables. Alembic compares it with the database."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC, also in databases without time zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store as UTC."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read as UTC."""
        return value.replace(tzinfo=UTC) if value else None


class Database:
    """The database at a SQLAlchemy ``url`` with an async driver.

    Use it by ``async with``. Each access is a `transaction`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: AsyncEngine | None = None
        self.sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(expire_on_commit=False)

    @cached_property
    def is_shared(self) -> bool:
        """Whether several processes may use it at a time; SQLite belongs to one."""
        return make_url(self.url).get_backend_name() != "sqlite"

    async def __aenter__(self) -> "Database":
        """Connect and migrate the schema; raises `DatabaseUnavailableError`."""
        try:
            self.engine = _engine(self.url, DATABASE_TIMEOUT_SECONDS, DATABASE_TIMEOUT_SECONDS)
            self.sessions.configure(bind=self.engine)
            await _migrate(self.url)
        except (*DATABASE_ERRORS, ImportError) as error:
            await self.__aexit__()
            raise DatabaseUnavailableError(f"The database of DATABASE_URL cannot be used: {first_line(error)}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.engine:
            await self.engine.dispose()

    @contextlib.asynccontextmanager
    async def transaction(
        self, sentence: str, failure: type[DatabaseUnavailableError] = DatabaseUnavailableError
    ) -> AsyncIterator[AsyncSession]:
        """Commit the changes of the block.

        Raises ``failure`` with the message ``sentence`` if the database fails.
        """
        try:
            async with self.sessions.begin() as session:
                yield session
        except DATABASE_ERRORS as error:
            log.error("%s (%s)", sentence, first_line(error))
            raise failure(sentence) from error


def first_line(error: BaseException) -> str:
    """Return the part of a SQLAlchemy error that can be logged.

    Further lines hold the statement.
    """
    return str(error).partition("\n")[0] or type(error).__name__


def _engine(url: str, connect_seconds: float, command_seconds: float) -> AsyncEngine:
    # Errors are logged, and parameters may be tokens.
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        seconds = {"timeout": connect_seconds, "command_timeout": command_seconds}
        timeouts = seconds if parsed.get_driver_name() == "asyncpg" else {}
        options: dict[str, Any] = {"pool_pre_ping": True, "pool_timeout": DATABASE_TIMEOUT_SECONDS, "connect_args": timeouts}
        return create_async_engine(parsed, hide_parameters=True, **options)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    single_writer: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "connect_args": {"timeout": DATABASE_TIMEOUT_SECONDS}}
    engine = create_async_engine(parsed, hide_parameters=True, **single_writer)

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # in WAL mode NORMAL may forget commits when the power fails
        cursor.close()

    return engine


async def _migrate(url: str) -> None:
    engine = _engine(url, STARTUP_TIMEOUT_SECONDS, MIGRATION_TIMEOUT_SECONDS)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    if connection.dialect.name == "postgresql":  # processes that start at once migrate one after another
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK_ID)))
    command.upgrade(config, "head")
