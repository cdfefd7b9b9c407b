"""The tables of prompt jams, and how what they hold about a member or a server is deleted."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Boolean, Index, String, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.storage.database import Base, UtcDateTime

MAX_THEME: Final = 100  # characters
UNSYNCHRONIZED: Final = {"synchronize_session": False}


class Stage(StrEnum):
    """How far a jam is."""

    OPEN = "open"
    DRAWING = "drawing"
    VOTING = "voting"
    ENDING = "ending"
    CANCELLED = "cancelled"


class JamRow(Base):
    """A jam in a channel, which has one at a time; its stage ``ends`` at that time.

    ``id`` is the id of the interaction that started it. ``is_open`` shows the prompts before they are drawn.
    """

    __tablename__ = "jams"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    guild_id: Mapped[int] = mapped_column(BigInteger, index=True)
    channel_id: Mapped[int] = mapped_column(BigInteger, index=True, unique=True)
    message_id: Mapped[int | None] = mapped_column(BigInteger)
    vote_message_id: Mapped[int | None] = mapped_column(BigInteger)
    starter: Mapped[int] = mapped_column(BigInteger, index=True)
    theme: Mapped[str] = mapped_column(String(MAX_THEME))
    is_open: Mapped[bool] = mapped_column(Boolean)
    voting_minutes: Mapped[int]
    language: Mapped[str] = mapped_column(String(5))
    age_restricted: Mapped[bool] = mapped_column(Boolean)
    stage: Mapped[str] = mapped_column(String(10), default=Stage.OPEN)
    ends: Mapped[datetime] = mapped_column(UtcDateTime)


class JamEntryRow(Base):
    """The prompt that a member submitted; ``creation_id`` is the interaction that did so, and the creation that it becomes.

    ``number`` is its place in the vote, 0 while members can still change their prompts. ``counted`` is as in `Creation`.
    """

    __tablename__ = "jam_entries"

    jam_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    member: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, index=True)
    creation_id: Mapped[int] = mapped_column(BigInteger, index=True, unique=True)
    number: Mapped[int] = mapped_column(default=0)
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    counted: Mapped[int]
    spoiler: Mapped[bool] = mapped_column(Boolean)

    @property
    def prompt(self) -> str:
        """The prompt."""
        return str(self.request["prompt"])


class JamVoteRow(Base):
    """The vote of ``voter`` for the entry of ``member``."""

    __tablename__ = "jam_votes"

    jam_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    voter: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, index=True)
    member: Mapped[int] = mapped_column(BigInteger, index=True)


class CrownRow(Base):
    """The crown that the creation of ``member`` won in a jam."""

    __tablename__ = "crowns"
    __table_args__ = (Index("ix_crowns_guild_creation", "guild_id", "creation_id"),)

    creation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    guild_id: Mapped[int] = mapped_column(BigInteger)
    member: Mapped[int] = mapped_column(BigInteger, index=True)
    starter: Mapped[int] = mapped_column(BigInteger, index=True)
    theme: Mapped[str] = mapped_column(String(MAX_THEME))
    given: Mapped[datetime] = mapped_column(UtcDateTime)


async def forget_jams(session: AsyncSession, member: int) -> None:
    """Delete what ``member`` entered, voted and won, and cancel the jams that they started."""
    votes = delete(JamVoteRow).where(or_(JamVoteRow.voter == member, JamVoteRow.member == member))
    entries = delete(JamEntryRow).where(JamEntryRow.member == member)
    crowns = delete(CrownRow).where(CrownRow.member == member)
    jams = update(JamRow).where(JamRow.starter == member).values(stage=Stage.CANCELLED, starter=0, theme="")
    themes = update(CrownRow).where(CrownRow.starter == member).values(starter=0, theme="")
    for statement in (votes, entries, crowns, jams, themes):
        await session.execute(statement, execution_options=UNSYNCHRONIZED)


async def delete_crowns(session: AsyncSession, creation_ids: Collection[int]) -> None:
    """Delete the crowns of those creations."""
    crowns = delete(CrownRow).where(CrownRow.creation_id.in_(creation_ids))
    await session.execute(crowns, execution_options=UNSYNCHRONIZED)


async def delete_jams_of_server(session: AsyncSession, guild_id: int) -> None:
    """Delete the jams and crowns of a server."""
    await delete_jams(session, select(JamRow.id).where(JamRow.guild_id == guild_id))
    await session.execute(delete(CrownRow).where(CrownRow.guild_id == guild_id), execution_options=UNSYNCHRONIZED)


async def delete_jams(session: AsyncSession, jam_ids: Any) -> None:
    """Delete the jams that the query ``jam_ids`` finds, with their entries and votes."""
    ids = (await session.scalars(jam_ids)).all()
    for column in (JamVoteRow.jam_id, JamEntryRow.jam_id, JamRow.id):
        await session.execute(delete(column.class_).where(column.in_(ids)), execution_options=UNSYNCHRONIZED)
