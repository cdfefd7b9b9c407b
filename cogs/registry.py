"""The preferences of members, channels and servers: in the database and, for answers that cannot wait, in memory."""

import logging
from typing import Any

import discord
from pydantic import ValidationError
from sqlalchemy import JSON, BigInteger, String, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from cogs.database import Base, Database
from cogs.preferences import Preferences, Scope, from_json, layered, to_json
from diffusion.errors import InvalidRequest

log = logging.getLogger(__name__)
NONE = Preferences()


class Preference(Base):
    """What the member, channel or server of an id prefers; ``values`` are those of `Preferences` that are not left open."""

    __tablename__ = "preferences"

    scope: Mapped[str] = mapped_column(String(10), primary_key=True)
    subject: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    values: Mapped[dict[str, Any]] = mapped_column(JSON)


class Registry:
    """All preferences. `open` reads them once; from then on `set` writes through."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[Scope, int], Preferences] = {}

    async def open(self) -> None:
        """Read what there is; raises `DatabaseFailed`."""
        async with self._database.transaction("The settings cannot be read.") as session:
            rows = (await session.scalars(select(Preference))).all()
        self._known = {}
        for row in rows:
            try:
                self._known[Scope(row.scope), row.subject] = from_json(row.values)
            except (InvalidRequest, ValidationError, ValueError) as error:
                log.error("the settings of %s %d cannot be read and do not hold: %s", row.scope, row.subject, error)

    def of(self, scope: Scope, subject: int) -> Preferences:
        """Give what one member, channel or server prefers."""
        return self._known.get((scope, subject), NONE)

    def at(self, interaction: discord.Interaction[Any]) -> Preferences:
        """Give what holds for the member of ``interaction``, where they are."""
        return layered(self.of(scope, subject) for scope, subject in scopes(interaction).items())

    async def set(self, scope: Scope, subject: int, preferences: Preferences) -> None:
        """Keep ``preferences`` in place of what there was; raises `DatabaseFailed`, and then nothing has changed."""
        async with self._database.transaction("I cannot write settings down at the moment. Please try again later.") as session:
            if preferences == NONE:
                await session.execute(delete(Preference).filter_by(scope=scope, subject=subject))
            else:
                await session.merge(Preference(scope=scope, subject=subject, values=to_json(preferences)))
        self._known[scope, subject] = preferences


def scopes(interaction: discord.Interaction[Any]) -> dict[Scope, int]:
    """Tell whose preferences hold for ``interaction``, nearest first. Threads go with their channel."""
    found = {Scope.MEMBER: interaction.user.id}
    if interaction.guild_id is not None:
        channel = interaction.channel
        parent = channel.parent_id if isinstance(channel, discord.Thread) else None
        if own := parent or interaction.channel_id:
            found[Scope.CHANNEL] = own
        found[Scope.SERVER] = interaction.guild_id
    return found
