"""The stars that members give to finished pictures, and how many each has.

A star and its count are written in one transaction, so that no star is lost or counted twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import discord
from sqlalchemy import BigInteger, Index, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.request.prompt import clean
from cogs.core.storage.creations import Creation, State
from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database, UtcDateTime
from cogs.core.storage.gallery import SEARCH_PATHS
from cogs.core.storage.usage import insert_into
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

MAX_FAVOURITES: Final = 1000  # of one member
MAX_RANKED: Final = 200  # of a server's gallery
ROWS_PER_STEP: Final = 200
FAVOURITES_PER_STEP: Final = 50
TOO_MANY: Final = plural(
    "You have {count} favourite, which is the most that I keep. Take the star off another picture first.",
    "You have {count} favourites, which is the most that I keep. Take the star off another picture first.",
)
GONE: Final = N_("These pictures have been deleted, so they cannot get a star.")
UNSYNCHRONIZED: Final = {"synchronize_session": False}


class Period(StrEnum):
    """When the pictures of a gallery were made; or those that have won a jam."""

    DAY = "day"
    WEEK = "week"
    ALL = "all"
    JAMS = "jams"


PERIODS: Final = {Period.DAY: timedelta(days=1), Period.WEEK: timedelta(days=7)}


class StarRow(Base):
    """The star that a member gave to a creation."""

    __tablename__ = "stars"

    member: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    creation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, index=True)
    given: Mapped[datetime] = mapped_column(UtcDateTime)


class StarredRow(Base):
    """How many stars a creation of the server ``guild_id`` has, and where the starboard shows it."""

    __tablename__ = "starred"
    __table_args__ = (
        Index("ix_starred_guild_stars", "guild_id", "stars", "creation_id"),
        Index("ix_starred_guild_creation", "guild_id", "creation_id"),
    )

    creation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    guild_id: Mapped[int | None] = mapped_column(BigInteger)
    stars: Mapped[int]
    board_channel_id: Mapped[int | None] = mapped_column(BigInteger)
    board_message_id: Mapped[int | None] = mapped_column(BigInteger)


@dataclass(frozen=True)
class Starred:
    """A creation and its number of stars."""

    creation: Creation
    stars: int


class StarStore:
    """Reads and writes stars. All methods raise `DatabaseUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, member: int, creation: Creation) -> bool:
        """Let ``member`` give a star; return False if they have given it already.

        Raises `DarkroomError` if they have too many, or if the creation is gone.
        """
        kept = select(Creation.id).where(Creation.id == creation.id, Creation.state == State.DELIVERED)
        own = select(StarRow.creation_id).where(StarRow.member == member).limit(MAX_FAVOURITES)
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            if await session.get(StarRow, (member, creation.id)):
                return False
            if not await session.scalar(kept.with_for_update(read=True)):  # nobody deletes it until this is committed
                raise DarkroomError(GONE)
            if len((await session.scalars(own)).all()) >= MAX_FAVOURITES:
                raise DarkroomError(TOO_MANY, count=MAX_FAVOURITES)
            star = (await insert_into(session, StarRow)).values(member=member, creation_id=creation.id, given=datetime.now(UTC))
            inserted: Any = await session.execute(star.on_conflict_do_nothing())
            if inserted.rowcount:  # else the member has just done so in another process
                row = (await insert_into(session, StarredRow)).values(
                    creation_id=creation.id, guild_id=creation.guild_id, stars=1
                )
                more = {"stars": StarredRow.stars + 1}
                await session.execute(row.on_conflict_do_update(index_elements=[StarredRow.creation_id], set_=more))
        return bool(inserted.rowcount)

    async def remove(self, member: int, creation_id: int) -> bool:
        """Take the star of ``member`` back; return False if there is none."""
        star = delete(StarRow).where(StarRow.member == member, StarRow.creation_id == creation_id)
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            deleted: Any = await session.execute(star, execution_options=UNSYNCHRONIZED)
            if deleted.rowcount:
                await _subtract_one(session, [creation_id])
        return bool(deleted.rowcount)

    async def has_any(self, member: int) -> bool:
        """Return whether ``member`` has given stars."""
        own = select(StarRow.creation_id).where(StarRow.member == member).limit(1)
        return bool(await self._database.scalars(own, DATABASE_UNREACHABLE))

    async def get(self, creation_id: int) -> StarredRow | None:
        """Return the stars of a creation and its place on the starboard, None if nobody has starred it."""
        found = await self._database.scalars(select(StarredRow).filter_by(creation_id=creation_id), DATABASE_UNREACHABLE)
        return next(iter(found), None)

    async def set_board_message(self, creation_id: int, channel_id: int, message_id: int) -> None:
        """Record where the starboard shows a creation."""
        row = update(StarredRow).where(StarredRow.creation_id == creation_id)
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            values = row.values(board_channel_id=channel_id, board_message_id=message_id)
            await session.execute(values, execution_options=UNSYNCHRONIZED)

    async def favourites(
        self, member: int, place: tuple[int | None, int], search: str = "", *, edge: int | None = None, is_newer: bool = False
    ) -> Sequence[Creation]:
        """Return a member's favourites with ids after ``edge``, newest first, or oldest first if ``is_newer``.

        These are up to `FAVOURITES_PER_STEP` whose prompts contain ``search``.
        They are their own, and others' public ones of the ``place``: a server, or outside servers a channel.
        """
        guild_id, channel_id = place
        here = (
            Creation.guild_id == guild_id if guild_id else and_(Creation.guild_id.is_(None), Creation.channel_id == channel_id)
        )
        public = and_(Creation.private.is_(False), Creation.message_id.is_not(None), here)
        query = select(Creation).join(StarRow, StarRow.creation_id == Creation.id).where(StarRow.member == member)
        query = query.where(Creation.state == State.DELIVERED, or_(Creation.owner == member, public))
        if search := clean(search):
            paths = (Creation.request[path].as_string() for path in SEARCH_PATHS)
            query = query.where(or_(*(text.icontains(search, autoescape=True) for text in paths)))
        if edge is not None:
            query = query.where(StarRow.creation_id > edge if is_newer else StarRow.creation_id < edge)
        order = StarRow.creation_id if is_newer else StarRow.creation_id.desc()
        return await self._database.scalars(query.order_by(order).limit(FAVOURITES_PER_STEP), DATABASE_UNREACHABLE)

    async def ranked(self, guild_id: int, period: Period) -> list[Starred]:
        """Return the public creations of a server with the most stars, `MAX_RANKED` at most.

        They were made within the ``period``. Private, deleted and flagged ones are left out.
        """
        query: Any = select(Creation, StarredRow.stars).join(StarredRow, StarredRow.creation_id == Creation.id)
        query = query.where(StarredRow.guild_id == guild_id, StarredRow.stars > 0)
        query = query.where(Creation.private.is_(False), Creation.message_id.is_not(None), Creation.flags.is_(None))
        query = query.where(Creation.state == State.DELIVERED)
        if period in PERIODS:
            query = query.where(StarredRow.creation_id >= discord.utils.time_snowflake(datetime.now(UTC) - PERIODS[period]))
        query = query.order_by(StarredRow.stars.desc(), StarredRow.creation_id.desc()).limit(MAX_RANKED)
        async with self._database.reading(DATABASE_UNREACHABLE) as session:
            return [Starred(creation, stars) for creation, stars in (await session.execute(query)).all()]


async def take_back_stars(session: AsyncSession, member: int) -> bool:
    """Take back up to `ROWS_PER_STEP` stars of ``member``; return whether there were any."""
    query = select(StarRow.creation_id).where(StarRow.member == member).limit(ROWS_PER_STEP).with_for_update()
    ids = (await session.scalars(query)).all()
    stars = delete(StarRow).where(StarRow.member == member, StarRow.creation_id.in_(ids))
    await session.execute(stars, execution_options=UNSYNCHRONIZED)
    await _subtract_one(session, ids)
    return bool(ids)


async def board_messages(session: AsyncSession, creation_ids: Any) -> list[dict[str, Any]]:
    """Return the messages on starboards that show those creations, as rows of `DeletedMessageRow`."""
    query = select(StarredRow).where(StarredRow.creation_id.in_(creation_ids), StarredRow.board_message_id.is_not(None))
    rows = await session.scalars(query)
    return [{"message_id": row.board_message_id, "channel_id": row.board_channel_id} for row in rows]


async def delete_stars(session: AsyncSession, creation_ids: Collection[int]) -> None:
    """Delete all stars of those creations."""
    for table in (StarRow, StarredRow):
        await session.execute(delete(table).where(table.creation_id.in_(creation_ids)), execution_options=UNSYNCHRONIZED)


async def _subtract_one(session: AsyncSession, creation_ids: Collection[int]) -> None:
    fewer = update(StarredRow).where(StarredRow.creation_id.in_(creation_ids)).values(stars=StarredRow.stars - 1)
    await session.execute(fewer, execution_options=UNSYNCHRONIZED)
