"""The preferences of members, channels and servers, stored and in memory.

Replies that cannot wait for the database read them from memory.
"""

import logging
from collections.abc import Iterable
from typing import Any, Final

import discord
from pydantic import ValidationError
from sqlalchemy import JSON, BigInteger, Float, String, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.request.preferences import Preferences, Scope, from_json, to_json
from cogs.core.storage.database import Base, Database
from cogs.core.storage.lease import epoch
from diffusion.errors import InvalidRequestError
from diffusion.text import N_

log = logging.getLogger(__name__)
NO_PREFERENCES: Final = Preferences()
NOT_READ: Final = N_("The settings cannot be read.")
CHANGES_KEPT_SECONDS: Final = 3600.0  # for other processes to read them
MAX_TRANSACTION_SECONDS: Final = 60.0


class PreferenceRow(Base):
    """The preferences of a member, channel or server.

    ``values`` has those fields of `Preferences` that are set.
    """

    __tablename__ = "preferences"

    scope: Mapped[str] = mapped_column(String(10), primary_key=True)
    subject: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    values: Mapped[dict[str, Any]] = mapped_column(JSON)


class PreferenceChangeRow(Base):
    """The time of the last change of preferences, in seconds since 1970.

    It lets other processes read them again.
    """

    __tablename__ = "preference_changes"

    scope: Mapped[str] = mapped_column(String(10), primary_key=True)
    subject: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    changed: Mapped[float] = mapped_column(Float(53), index=True)


class PreferenceStore:
    """Keeps all preferences in memory.

    `open` reads them, `set` stores changes at once, and `refresh` reads the changes of other processes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, int], Preferences] = {}
        self._as_of = 0.0  # by the database's clock

    async def open(self) -> None:
        """Read all preferences; raises `DatabaseUnavailableError`."""
        async with self._database.transaction(NOT_READ) as session:
            self._as_of = await session.scalar(select(epoch())) or 0.0
            rows = (await session.scalars(select(PreferenceRow))).all()
        self._known = {}
        self._remember(rows)

    async def refresh(self) -> None:
        """Read the preferences that have changed since the last call.

        Raises `DatabaseUnavailableError`.
        """
        async with self._database.transaction(NOT_READ) as session:
            as_of = await session.scalar(select(epoch())) or 0.0
            # A transaction may have been committed after a later change was read, so the last minute is read again.
            changes = select(PreferenceChangeRow).where(PreferenceChangeRow.changed > self._as_of - MAX_TRANSACTION_SECONDS)
            changed = [(change.scope, change.subject) for change in await session.scalars(changes)]
            await self._read(session, changed)
            await session.execute(delete(PreferenceChangeRow).where(PreferenceChangeRow.changed < as_of - CHANGES_KEPT_SECONDS))
        changes_deleted = as_of > self._as_of + CHANGES_KEPT_SECONDS - MAX_TRANSACTION_SECONDS
        self._as_of = as_of
        if changes_deleted:
            await self.open()

    async def reload(self, scope: Scope, subject: int) -> Preferences:
        """Read the preferences of ``subject`` from the database before a change.

        Raises `DatabaseUnavailableError`.
        """
        if self._database.is_shared:
            async with self._database.transaction(NOT_READ) as session:
                await self._read(session, [(scope, subject)])
        return self.get(scope, subject)

    async def _read(self, session: AsyncSession, subjects: list[tuple[str, int]]) -> None:
        if not subjects:
            return
        found = select(PreferenceRow).where(tuple_(PreferenceRow.scope, PreferenceRow.subject).in_(subjects))
        rows = (await session.scalars(found)).all()
        for scope, subject in subjects:
            self._known.pop((scope, subject), None)
        self._remember(rows)

    def _remember(self, rows: Iterable[PreferenceRow]) -> None:
        for row in rows:
            try:
                self._known[Scope(row.scope), row.subject] = from_json(row.values)
            except (InvalidRequestError, ValidationError, ValueError) as error:
                log.error("the settings of %s %d are ignored, because they cannot be read: %s", row.scope, row.subject, error)

    def get(self, scope: Scope, subject: int) -> Preferences:
        """Return the preferences of a member, channel or server."""
        return self._known.get((scope, subject), NO_PREFERENCES)

    async def set(self, scope: Scope, subject: int, preferences: Preferences) -> None:
        """Replace the preferences of ``subject``.

        Raises `DatabaseUnavailableError`, and then nothing changes.
        """
        async with self._database.transaction("I cannot write settings down at the moment. Please try again later.") as session:
            if preferences == NO_PREFERENCES:
                await session.execute(delete(PreferenceRow).filter_by(scope=scope, subject=subject))
            else:
                await session.merge(PreferenceRow(scope=scope, subject=subject, values=to_json(preferences)))
            if self._database.is_shared:
                now = await session.scalar(select(epoch())) or 0.0
                await session.merge(PreferenceChangeRow(scope=scope, subject=subject, changed=now))
        self._known[scope, subject] = preferences


def scopes_of(interaction: discord.Interaction[Any]) -> dict[Scope, int]:
    """Return whose preferences apply to ``interaction``, the nearest first.

    A thread has the preferences of its channel.
    """
    found = {Scope.MEMBER: interaction.user.id}
    if interaction.guild_id is not None:
        channel = interaction.channel
        parent = channel.parent_id if isinstance(channel, discord.Thread) else None
        if own := parent or interaction.channel_id:
            found[Scope.CHANNEL] = own
        found[Scope.SERVER] = interaction.guild_id
    return found
