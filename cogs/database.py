"""The one database: what its tables have in common, the connection, and the migrations that bring it up to date."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, DateTime, Dialect, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from diffusion.errors import DarkroomError

MIGRATIONS: Final = Path(__file__).with_name("migrations")
logging.getLogger("aiosqlite").setLevel(logging.INFO)  # its debug messages hold every value, tokens too


class DatabaseFailed(DarkroomError):
    """The database cannot be opened, read or written."""


class Base(DeclarativeBase):
    """Of all tables; the migrations compare it with the database."""


class Instant(TypeDecorator[datetime]):
    """A time in UTC, also where the database knows no time zones."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store as UTC."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read as UTC."""
        return value.replace(tzinfo=UTC) if value else None


class Database:
    """``async with Database(url) as database``, with any URL of SQLAlchemy whose driver is async.

    What keeps something there opens ``sessions``: ``async with database.sessions.begin() as session`` is one transaction.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: AsyncEngine | None = None
        self.sessions: async_sessionmaker[Any] = async_sessionmaker(expire_on_commit=False)

    async def __aenter__(self) -> "Database":
        """Connect and bring the schema up to date; raises `DatabaseFailed`."""
        try:
            self.engine = _engine(self.url)
            self.sessions.configure(bind=self.engine)
            async with self.engine.begin() as connection:
                await connection.run_sync(_migrate)
        except (SQLAlchemyError, OSError, ImportError) as error:
            await self.__aexit__()
            raise DatabaseFailed(f"The database of DATABASE_URL cannot be used: {first_line(error)}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.engine:
            await self.engine.dispose()


def first_line(error: BaseException) -> str:
    """Give what of an error of SQLAlchemy's can be logged; further lines hold the statement."""
    return str(error).partition("\n")[0]


def _engine(url: str) -> AsyncEngine:
    parsed = make_url(url)
    # Errors may be logged and must not hold tokens: parameters are hidden.
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(parsed, hide_parameters=True, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(parsed, hide_parameters=True, pool_size=1, max_overflow=0)  # SQLite has one writer

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # in WAL mode NORMAL may forget commits when the power fails
        cursor.close()

    return engine


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
