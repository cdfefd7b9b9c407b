"""What was asked for and what became of it, in a database. What a member was promised stands here before they are told.

A creation's life, each arrow one committed transaction: accepted -> running -> rendered (its files are on disk) -> delivered,
or failed or cancelled from anywhere before that. What has ended never changes again.
"""

import logging
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from PIL import Image
from sqlalchemy import JSON, BigInteger, Boolean, Connection, DateTime, Dialect, String, Text, event, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from diffusion.errors import DarkroomError
from diffusion.request import ImageRequest

log = logging.getLogger(__name__)
MIGRATIONS: Final = Path(__file__).with_name("migrations")
logging.getLogger("aiosqlite").setLevel(logging.INFO)  # its debug messages hold every value, tokens too


class JournalFailed(DarkroomError):
    """The journal cannot be opened or written."""


class State(StrEnum):
    """How far a creation is."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    RENDERED = "rendered"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED: Final = (State.ACCEPTED, State.RUNNING, State.RENDERED)


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


class Base(DeclarativeBase):
    """Of all tables; the migrations compare it with the database."""


class Creation(Base):
    """One answer of the bot: its ``id`` is that of the interaction that asked for it, ``parent_id`` that whose button did.

    ``request`` is empty until it is known what exactly to make, such as while an attachment is downloaded. ``token_only``
    says that nothing but the interaction's token, which lives until ``expires``, reaches the message. ``pictures`` and
    ``source`` name files of the `Gallery`. ``posting_in`` is the channel in which a new message was about to be posted
    because the first one cannot be edited; ``attempts`` counts how often the engine began with this.
    """

    __tablename__ = "creations"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    parent_id: Mapped[int | None] = mapped_column(BigInteger)
    owner: Mapped[int] = mapped_column(BigInteger)
    guild_id: Mapped[int | None] = mapped_column(BigInteger)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    message_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    application_id: Mapped[int] = mapped_column(BigInteger)
    token: Mapped[str] = mapped_column(String(500))
    expires: Mapped[datetime] = mapped_column(Instant)
    private: Mapped[bool] = mapped_column(Boolean)
    token_only: Mapped[bool] = mapped_column(Boolean)
    request: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    source: Mapped[str | None] = mapped_column(String(64))
    pictures: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    posting_in: Mapped[int | None] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(10), default=State.ACCEPTED, index=True)
    error: Mapped[str | None] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(Instant, default=lambda: datetime.now(UTC))
    changed: Mapped[datetime] = mapped_column(Instant, default=lambda: datetime.now(UTC), onupdate=lambda: datetime.now(UTC))

    @property
    def files(self) -> set[str]:
        """The pictures of the `Gallery` that this needs."""
        return {*(self.pictures or ()), *([self.source] if self.source else ())}

    def __repr__(self) -> str:
        return f"<Creation {self.id} {self.state}>"  # and nothing that is secret


class Journal:
    """The table of creations. ``async with Journal(url) as journal``, with any URL of SQLAlchemy whose driver is async."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._database: AsyncEngine | None = None
        self._sessions: async_sessionmaker[Any] = async_sessionmaker(expire_on_commit=False)

    async def __aenter__(self) -> "Journal":
        """Connect and bring the schema up to date; raises `JournalFailed`."""
        try:
            self._database = _database(self.url)
            self._sessions.configure(bind=self._database)
            async with self._database.begin() as connection:
                await connection.run_sync(_migrate)
        except (SQLAlchemyError, OSError, ImportError) as error:
            await self.__aexit__()
            raise JournalFailed(f"The database of DATABASE_URL cannot be used: {_first_line(error)}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._database:
            await self._database.dispose()

    async def add(self, creation: Creation) -> None:
        """Write ``creation`` down for the first time; raises `JournalFailed`."""
        try:
            async with self._sessions.begin() as session:
                session.add(creation)
        except SQLAlchemyError as error:
            log.error("a request could not be journalled: %s", _first_line(error))
            raise JournalFailed(
                "I cannot write requests down at the moment, so I take none. Please try again later."
            ) from error

    async def update(self, creation: Creation, **changes: Any) -> None:
        """Commit ``changes`` of an unfinished creation.

        Where the database fails, that is logged and the work goes on: at worst a restart does a part of it again.
        """
        statement = update(Creation).where(Creation.id == creation.id, Creation.state.in_(UNFINISHED)).values(**changes)
        try:
            async with self._sessions.begin() as session:
                await session.execute(statement, execution_options={"synchronize_session": False})
        except SQLAlchemyError as error:
            log.error("%r could not be journalled as %s: %s", creation, changes.get("state", "changed"), _first_line(error))
        for name, value in changes.items():
            setattr(creation, name, value)

    async def close(self, creation: Creation, state: State, error: str | None = None, **changes: Any) -> None:
        """End ``creation``; its token is not needed any more and is forgotten."""
        await self.update(creation, state=state, error=error, token="", **changes)

    async def unfinished(self) -> list[Creation]:
        """Give what a member still waits for, oldest first; raises `JournalFailed`."""
        return await self._read(select(Creation).where(Creation.state.in_(UNFINISHED)).order_by(Creation.id))

    async def of_message(self, message_id: int) -> Creation | None:
        """Find the creation whose message this is; raises `JournalFailed`."""
        return next(iter(await self._read(select(Creation).where(Creation.message_id == message_id))), None)

    async def _read(self, query: Any) -> list[Creation]:
        try:
            async with self._sessions() as session:
                return list((await session.scalars(query)).all())
        except SQLAlchemyError as error:
            log.error("the journal could not be read: %s", _first_line(error))
            raise JournalFailed("I cannot read my journal at the moment. Please try again later.") from error


def to_json(request: ImageRequest) -> dict[str, Any]:
    """Give all of ``request`` but its image."""
    return {field.name: getattr(request, field.name) for field in fields(request) if field.name != "image"}


def from_json(data: dict[str, Any], image: Image.Image | None) -> ImageRequest:
    """Make the request again; raises `InvalidRequest`, or TypeError for one that another version wrote."""
    return ImageRequest(**data, image=image)


def _database(url: str) -> AsyncEngine:
    parsed = make_url(url)
    # Errors may be logged and must not hold tokens: parameters are hidden.
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(parsed, hide_parameters=True, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    database = create_async_engine(parsed, hide_parameters=True, pool_size=1, max_overflow=0)  # SQLite has one writer

    @event.listens_for(database.sync_engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # in WAL mode NORMAL may forget commits when the power fails
        cursor.close()

    return database


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
