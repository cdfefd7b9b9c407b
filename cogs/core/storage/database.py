"""The database: connections, transactions, and the base of all tables.

A slow database is not a dead one: whoever needs it waits. A member's interaction waits for as long as it lives, everything else
for `DATABASE_TIMEOUT_SECONDS`.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, DateTime, Dialect, Select, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from cogs.core.storage import schema
from diffusion.errors import DarkroomError
from diffusion.text import N_

log = logging.getLogger(__name__)
DATABASE_UNREACHABLE: Final = N_("I cannot reach my database at the moment. Please try again later.")
MALFORMED_URL: Final = (
    "DATABASE_URL is not the URL of a database. It looks like postgresql+asyncpg://user:password@host/name; in the password,"
    " write special characters as %-codes, such as %40 for @."
)
NO_FILE: Final = "DATABASE_URL names no file for SQLite. It looks like sqlite+aiosqlite:////srv/darkroom/darkroom.sqlite."
DATABASE_TIMEOUT_SECONDS = 30.0  # of one transaction, unless a member's interaction lives longer
UNREACHABLE_SECONDS = 10.0  # how long a server may refuse connections, for example while it is restarted
LOCKED_SECONDS = 1.0  # after which a waiting writer lets others use the connection to SQLite
RETRY_SECONDS = 0.2
MAX_CONNECTIONS: Final = 15
CONNECT_TIMEOUT_SECONDS: Final = 30.0
COMMAND_TIMEOUT_SECONDS: Final = 120.0  # after which a connection counts as lost
STARTUP_TIMEOUT_SECONDS: Final = 30.0  # no member waits yet, and other processes may be starting
MIGRATION_TIMEOUT_SECONDS: Final = 3600.0
DATABASE_ERRORS: Final = (SQLAlchemyError, OSError)  # asyncpg raises OSError if the server is down
READ_ONLY: Final = "read_only"  # an option of connections that begin no transaction
# Until when the member of the present task waits, by the clock of the event loop.
waits_until: ContextVar[float] = ContextVar("waits_until", default=0.0)
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

    Use it by ``async with``. Each access is a `transaction`, or a `reading` that changes nothing.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: AsyncEngine | None = None
        self.sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(expire_on_commit=False)
        self._reading_sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(expire_on_commit=False)

    @cached_property
    def is_shared(self) -> bool:
        """Whether several processes may use it at a time; SQLite belongs to one."""
        return make_url(self.url).get_backend_name() != "sqlite"

    async def __aenter__(self) -> "Database":
        """Connect and migrate the schema; raises `DatabaseUnavailableError`."""
        try:
            url = _parse_url(self.url)
            self.engine = _engine(url)
            self.sessions.configure(bind=self.engine)
            self._reading_sessions.configure(bind=_reader(self.engine))
            await _migrate(url)
        except schema.SchemaError as error:
            await self.__aexit__()
            raise DatabaseUnavailableError(str(error)) from error
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # drivers raise errors of their own, and TypeError for an unknown option
            await self.__aexit__()
            raise DatabaseUnavailableError(f"The database of DATABASE_URL cannot be used: {first_line(error)}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.engine:
            await self.engine.dispose()

    @contextlib.asynccontextmanager
    async def transaction(
        self, sentence: str, failure: type[DatabaseUnavailableError] = DatabaseUnavailableError, *, reads_only: bool = False
    ) -> AsyncIterator[AsyncSession]:
        """Commit the changes of the block.

        Raises ``failure`` with the message ``sentence`` if the database fails. On SQLite, no other transaction runs meanwhile.
        Where it ``reads_only``, each statement is on its own and takes one message.
        """
        sessions = self._reading_sessions if reads_only else self.sessions
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(max(now + DATABASE_TIMEOUT_SECONDS, waits_until.get())), _begun(sessions) as session:
                yield session
        except DATABASE_ERRORS as error:
            log.error("%s (%s)", sentence, first_line(error))
            raise failure(sentence) from error

    def reading(
        self, sentence: str, failure: type[DatabaseUnavailableError] = DatabaseUnavailableError
    ) -> contextlib.AbstractAsyncContextManager[AsyncSession]:
        """Read in the block, as a `transaction` that only reads."""
        return self.transaction(sentence, failure, reads_only=True)

    async def scalars(
        self, query: Select[Any], sentence: str, failure: type[DatabaseUnavailableError] = DatabaseUnavailableError
    ) -> Sequence[Any]:
        """Return the first column of all rows; reads again if the connection is lost.

        Raises ``failure`` with the message ``sentence`` if the database fails.
        """
        try:
            async with self.reading(sentence, failure) as session:
                return (await session.scalars(query)).all()
        except failure as error:
            if not has_lost_connection(error):
                raise
        async with self.reading(sentence, failure) as session:
            return (await session.scalars(query)).all()

    async def erase_deleted(self) -> None:
        """Remove what was deleted from SQLite's log of changes, too; raises `DatabaseUnavailableError`."""
        if not self.is_shared:
            async with self.reading(DATABASE_UNREACHABLE) as session:
                await session.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))

    async def delete_old_copies(self) -> None:
        """Delete the copies of a SQLite database from before earlier upgrades."""
        if not self.is_shared:
            await asyncio.to_thread(schema.delete_old_copies, Path(make_url(self.url).database or ""))


class _NotBegunError(Exception):
    """A transaction cannot begin at present; the cause says why."""


@contextlib.asynccontextmanager
async def _begun(sessions: "async_sessionmaker[AsyncSession]") -> AsyncIterator[AsyncSession]:
    """Begin a transaction, as soon as that is possible.

    Waits while another program has locked SQLite, and for `UNREACHABLE_SECONDS` while the server refuses connections. Each
    attempt takes a new session, because one whose transaction did not begin cannot be used again.
    """
    clock = asyncio.get_running_loop().time
    refused_until = clock() + UNREACHABLE_SECONDS
    while True:
        try:
            async with sessions.begin() as session:
                try:
                    await session.connection()
                except Exception as error:  # asyncpg's own where the server is starting, or has no room for a connection
                    raise _NotBegunError from error
                yield session
                return
        except _NotBegunError as failure:
            cause = failure.__cause__ or failure
            if "database is locked" not in str(cause) and clock() > refused_until:
                if isinstance(cause, DATABASE_ERRORS):
                    raise cause from None
                raise ConnectionError(first_line(cause)) from cause
        await asyncio.sleep(RETRY_SECONDS)


def has_lost_connection(error: DatabaseUnavailableError) -> bool:
    """Return whether the connection ended before an answer came, so that another attempt may succeed."""
    return bool(getattr(error.__cause__, "connection_invalidated", False))


def first_line(error: BaseException) -> str:
    """Return the part of a SQLAlchemy error that can be logged.

    Further lines hold the statement.
    """
    return str(error).partition("\n")[0] or type(error).__name__


def _parse_url(location: str) -> URL:
    """Parse DATABASE_URL; raises `DatabaseUnavailableError` without its password."""
    try:
        url = make_url(location)
    except (SQLAlchemyError, ValueError):
        raise DatabaseUnavailableError(MALFORMED_URL) from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise DatabaseUnavailableError(NO_FILE)
    return url


def _engine(url: URL) -> AsyncEngine:
    options: dict[str, Any] = {"hide_parameters": True}  # errors are logged, and parameters may be tokens
    options["pool_timeout"] = None  # whoever waits for a connection gives up by a deadline of their own
    if url.get_backend_name() == "sqlite":
        engine = _sqlite_engine(url, LOCKED_SECONDS, pool_size=1, max_overflow=0, **options)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine
    timeouts = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS}
    if url.get_driver_name() == "asyncpg":
        options["connect_args"] = timeouts
    # To open a connection takes many messages, so none is closed that others may use.
    engine = create_async_engine(url, pool_size=MAX_CONNECTIONS, max_overflow=0, **options)
    event.listen(engine.sync_engine, "checkout", _reject_closed)
    return engine


def _sqlite_engine(url: URL, lock_seconds: float, **options: Any) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"timeout": lock_seconds}, **options)
    schema.restrict_access(Path(url.database or ""))

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # pysqlite would begin transactions late, and none before DDL
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # in WAL mode NORMAL may forget commits when the power fails
        cursor.execute("PRAGMA secure_delete=ON")  # what members delete leaves the file
        cursor.close()

    return engine


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(READ_ONLY):
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # a transaction that begins to write later could fail midway


def _reader(engine: AsyncEngine) -> AsyncEngine:
    """Return ``engine`` with connections that begin no transactions."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{READ_ONLY: True})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _reject_closed(connection: Any, *_: object) -> None:
    """Let the pool replace a connection that the server has closed, without a question to the server."""
    is_closed = getattr(connection.driver_connection, "is_closed", None)
    if is_closed is not None and is_closed():
        raise DisconnectionError("the server closed the connection")


async def _migrate(url: URL) -> None:
    if url.get_backend_name() == "sqlite":
        engine = _sqlite_engine(url, STARTUP_TIMEOUT_SECONDS)
    else:
        timeouts = {"timeout": STARTUP_TIMEOUT_SECONDS, "command_timeout": MIGRATION_TIMEOUT_SECONDS}
        engine = create_async_engine(url, connect_args=timeouts if url.get_driver_name() == "asyncpg" else {})
    try:
        async with engine.connect() as connection:
            await connection.run_sync(schema.upgrade)
    finally:
        await engine.dispose()
