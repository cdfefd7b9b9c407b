"""The servers that the bot is in, and those that it has left: their data are deleted after a time of grace."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import JSON, BigInteger, delete, select, update
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database, UtcDateTime
from cogs.core.storage.erasure import Erasure
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.usage import insert_into, insert_new

IDS_PER_QUERY: Final = 500


class ServerRow(Base):
    """A server that the bot is in, or has ``left``; ``channel_ids`` had settings of their own then."""

    __tablename__ = "servers"

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    left: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    channel_ids: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))


class ServerStore:
    """Knows the bot's servers, and keeps data of those that it left for ``max_days`` (None: for ever).

    All methods raise `DatabaseUnavailableError`.
    """

    def __init__(self, database: Database, preference_store: PreferenceStore, erasure: Erasure) -> None:
        self._database = database
        self._preference_store = preference_store
        self._erasure = erasure
        self.max_days: float | None = None

    async def note_present(self, guild_ids: Collection[int]) -> None:
        """Record that the bot is in these servers."""
        ids = sorted(guild_ids)
        for start in range(0, len(ids), IDS_PER_QUERY):
            part = ids[start : start + IDS_PER_QUERY]
            back = update(ServerRow).where(ServerRow.guild_id.in_(part), ServerRow.left.is_not(None))
            async with self._database.transaction(DATABASE_UNREACHABLE) as session:
                await insert_new(session, ServerRow, [{"guild_id": id} for id in part])
                await session.execute(back.values(left=None), execution_options={"synchronize_session": False})

    async def note_left(self, guild_id: int, channel_ids: Collection[int] = ()) -> None:
        """Record that the bot has left a server with these channels; does nothing if that is recorded already."""
        known = [id for id in channel_ids if self._preference_store.get(Scope.CHANNEL, id) != Preferences()]
        values = {"left": datetime.now(UTC), "channel_ids": known or None}
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            row = (await insert_into(session, ServerRow)).values(guild_id=guild_id, **values)
            is_new = ServerRow.left.is_(None)
            await session.execute(row.on_conflict_do_update(index_elements=[ServerRow.guild_id], set_=values, where=is_new))

    async def present(self) -> Sequence[int]:
        """Return the servers that the bot was in when it last looked."""
        return await self._database.scalars(select(ServerRow.guild_id).where(ServerRow.left.is_(None)), DATABASE_UNREACHABLE)

    async def delete_left(self) -> int:
        """Delete the data of servers that the bot left more than ``max_days`` ago; return how many there were.

        These are their settings, and all that members made there: requests, pictures and stars.
        """
        if self.max_days is None:
            return 0
        due = select(ServerRow).where(ServerRow.left < datetime.now(UTC) - timedelta(days=self.max_days))
        rows = await self._database.scalars(due, DATABASE_UNREACHABLE)
        for row in rows:
            await self._erasure.erase_server(row.guild_id)
            await self._preference_store.set(Scope.SERVER, row.guild_id, Preferences())
            for channel_id in row.channel_ids or ():
                await self._preference_store.set(Scope.CHANNEL, channel_id, Preferences())
            gone = delete(ServerRow).where(ServerRow.guild_id == row.guild_id, ServerRow.left == row.left)
            async with self._database.transaction(DATABASE_UNREACHABLE) as session:
                await session.execute(gone)
        return len(rows)
