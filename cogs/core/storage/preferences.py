"""The preferences of members, channels and servers: in the database and, for answers that cannot wait, in memory."""

import logging
from collections.abc import Iterable
from typing import Any, Final

import discord
from pydantic import ValidationError
from sqlalchemy import JSON, BigInteger, Float, String, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.request.preferences import Preferences, Scope, from_json, layered, to_json
from cogs.core.storage.database import Base, Database
from cogs.core.storage.lease import epoch
from diffusion.errors import InvalidRequestError
from diffusion.text import N_

log = logging.getLogger(__name__)
NONE = Preferences()
UNREAD: Final = N_("The settings cannot be read.")
REMEMBERED: Final = 3600.0  # seconds that a change is told to other processes
SLOWEST: Final = 60.0  # seconds within which any transaction ends


class PreferenceRow(Base):
    """What the member, channel or server of an id prefers; ``values`` are those of `Preferences` that are not left open."""

    __tablename__ = "preferences"

    scope: Mapped[str] = mapped_column(String(10), primary_key=True)
    subject: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    values: Mapped[dict[str, Any]] = mapped_column(JSON)


class PreferenceChangeRow(Base):
    """Whose preferences were ``changed`` when, in seconds since 1970, for other processes to read."""

    __tablename__ = "preference_changes"

    scope: Mapped[str] = mapped_column(String(10), primary_key=True)
    subject: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    changed: Mapped[float] = mapped_column(Float(53), index=True)


class PreferenceStore:
    """All preferences. `open` reads them once; from then on `set` writes through, and `refresh` reads what others set.

    That is asked for now and then instead of announced by the database, as it is to work through poolers of connections, too.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, int], Preferences] = {}
        self._as_of = 0.0  # by the database's clock

    async def open(self) -> None:
        """Read what there is; raises `DatabaseUnavailableError`."""
        async with self._database.transaction(UNREAD) as session:
            self._as_of = await session.scalar(select(epoch())) or 0.0
            rows = (await session.scalars(select(PreferenceRow))).all()
        self._known = {}
        self._learn(rows)

    async def refresh(self) -> None:
        """Read what was changed since the last time; raises `DatabaseUnavailableError`."""
        async with self._database.transaction(UNREAD) as session:
            as_of = await session.scalar(select(epoch())) or 0.0
            # What was committed late may be of an earlier moment than what was read: that is read again.
            changes = select(PreferenceChangeRow).where(PreferenceChangeRow.changed > self._as_of - SLOWEST)
            changed = [(change.scope, change.subject) for change in await session.scalars(changes)]
            await self._read(session, changed)
            await session.execute(delete(PreferenceChangeRow).where(PreferenceChangeRow.changed < as_of - REMEMBERED))
        missed = as_of > self._as_of + REMEMBERED - SLOWEST
        self._as_of = as_of
        if missed:
            await self.open()

    async def reload(self, scope: Scope, subject: int) -> Preferences:
        """Give what one prefers now, to change it, whichever process set it; raises `DatabaseUnavailableError`."""
        if self._database.is_shared:
            async with self._database.transaction(UNREAD) as session:
                await self._read(session, [(scope, subject)])
        return self.get(scope, subject)

    async def _read(self, session: AsyncSession, subjects: list[tuple[str, int]]) -> None:
        if not subjects:
            return
        found = select(PreferenceRow).where(tuple_(PreferenceRow.scope, PreferenceRow.subject).in_(subjects))
        rows = (await session.scalars(found)).all()
        for scope, subject in subjects:
            self._known.pop((scope, subject), None)
        self._learn(rows)

    def _learn(self, rows: Iterable[PreferenceRow]) -> None:
        for row in rows:
            try:
                self._known[Scope(row.scope), row.subject] = from_json(row.values)
            except (InvalidRequestError, ValidationError, ValueError) as error:
                log.error("the settings of %s %d cannot be read and do not hold: %s", row.scope, row.subject, error)

    def get(self, scope: Scope, subject: int) -> Preferences:
        """Give what one member, channel or server prefers."""
        return self._known.get((scope, subject), NONE)

    def effective_for(self, interaction: discord.Interaction[Any]) -> Preferences:
        """Give what holds for the member of ``interaction``, where they are."""
        return layered(self.get(scope, subject) for scope, subject in scopes_of(interaction).items())

    async def set(self, scope: Scope, subject: int, preferences: Preferences) -> None:
        """Keep ``preferences`` in place of what there was; raises `DatabaseUnavailableError`, and then nothing has changed."""
        async with self._database.transaction("I cannot write settings down at the moment. Please try again later.") as session:
            if preferences == NONE:
                await session.execute(delete(PreferenceRow).filter_by(scope=scope, subject=subject))
            else:
                await session.merge(PreferenceRow(scope=scope, subject=subject, values=to_json(preferences)))
            if self._database.is_shared:
                now = await session.scalar(select(epoch())) or 0.0
                await session.merge(PreferenceChangeRow(scope=scope, subject=subject, changed=now))
        self._known[scope, subject] = preferences


def scopes_of(interaction: discord.Interaction[Any]) -> dict[Scope, int]:
    """Tell whose preferences hold for ``interaction``, nearest first. Threads go with their channel."""
    found = {Scope.MEMBER: interaction.user.id}
    if interaction.guild_id is not None:
        channel = interaction.channel
        parent = channel.parent_id if isinstance(channel, discord.Thread) else None
        if own := parent or interaction.channel_id:
            found[Scope.CHANNEL] = own
        found[Scope.SERVER] = interaction.guild_id
    return found
