"""Prompt jams: what members entered, how they voted, and the crowns of the winners.

A jam has rows only while it lasts. Its stages, where each arrow is one committed transaction: open -> drawing -> voting ->
ending, and cancelled from any of them. At the end its rows are deleted; crowns stay.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cogs.core.storage.creations import Creation, State
from cogs.core.storage.database import DATABASE_UNREACHABLE, Database
from cogs.core.storage.jam_rows import UNSYNCHRONIZED, CrownRow, JamEntryRow, JamRow, JamVoteRow, Stage, delete_jams
from cogs.core.storage.stars import Starred, StarredRow
from cogs.core.storage.usage import insert_into, insert_new
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

MAX_ENTRIES: Final = 30  # as many votes have buttons
MAX_CROWNED: Final = 200  # that a gallery shows
TAKEN: Final = N_("There is a jam in this channel already. Take part in it, or start yours in another channel.")
OVER: Final = N_("This jam takes no more prompts. `/jam start` begins another one.")
VOTE_OVER: Final = N_("The vote is over.")
FULL: Final = plural(
    "This jam has {count} member, which is the most. Please wait for the next one.",
    "This jam has {count} members, which is the most. Please wait for the next one.",
)


@dataclass(frozen=True)
class Candidate:
    """An entry whose picture is shown, and its votes."""

    entry: JamEntryRow
    creation: Creation
    votes: int


class JamStore:
    """Reads and writes jams. All methods raise `DatabaseUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, jam: JamRow) -> None:
        """Insert ``jam``; raises `DarkroomError` if its channel has one."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            values = {column.key: getattr(jam, column.key) for column in JamRow.__table__.columns}
            row = (await insert_into(session, JamRow)).values(**values)
            inserted: Any = await session.execute(row.on_conflict_do_nothing())
        if not inserted.rowcount:
            raise DarkroomError(TAKEN)

    async def get(self, jam_id: int) -> JamRow | None:
        """Return the jam of that id, None once it is over."""
        return next(iter(await self._read(select(JamRow).where(JamRow.id == jam_id))), None)

    async def of_channel(self, channel_id: int) -> JamRow | None:
        """Return the jam in a channel, None without one."""
        return next(iter(await self._read(select(JamRow).where(JamRow.channel_id == channel_id))), None)

    async def all(self) -> Sequence[JamRow]:
        """Return all jams."""
        return await self._read(select(JamRow).order_by(JamRow.id))

    async def entries(self, jam_id: int) -> Sequence[JamEntryRow]:
        """Return the entries of a jam by their numbers, or else in the order in which they came."""
        query = select(JamEntryRow).where(JamEntryRow.jam_id == jam_id)
        return await self._read(query.order_by(JamEntryRow.number, JamEntryRow.creation_id))

    async def update(self, jam_id: int, *stages: Stage, **changes: Any) -> bool:
        """Change a jam that is in one of ``stages``, in any without them; return whether it is."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            return await _update(session, jam_id, *stages, **changes)

    async def enter(self, entry: JamEntryRow) -> None:
        """Write an entry down in the place of the member's earlier one.

        Raises `DarkroomError` if the jam is over or full.
        """
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            jam = await _locked(session, entry.jam_id)
            if jam is None or jam.stage != Stage.OPEN or jam.ends <= datetime.now(UTC):
                raise DarkroomError(OVER)
            members = (await session.scalars(select(JamEntryRow.member).where(JamEntryRow.jam_id == entry.jam_id))).all()
            if entry.member not in members and len(members) >= MAX_ENTRIES:
                raise DarkroomError(FULL, count=MAX_ENTRIES)
            await session.execute(_entry(entry.jam_id, entry.member), execution_options=UNSYNCHRONIZED)
            session.add(entry)

    async def withdraw(self, jam_id: int, member: int) -> bool:
        """Delete the entry of ``member`` from an open jam; return False if there is none."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            jam = await _locked(session, jam_id)
            if jam is None or jam.stage != Stage.OPEN:
                raise DarkroomError(OVER)
            deleted: Any = await session.execute(_entry(jam_id, member), execution_options=UNSYNCHRONIZED)
        return bool(deleted.rowcount)

    async def drop(self, jam_id: int, member: int) -> None:
        """Delete the entry of a member who has left."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await session.execute(_entry(jam_id, member), execution_options=UNSYNCHRONIZED)

    async def close_entries(self, jam_id: int) -> None:
        """Take no more entries, and number them at random."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            if not await _update(session, jam_id, Stage.OPEN, stage=Stage.DRAWING):
                return
            entries = list((await session.scalars(select(JamEntryRow).where(JamEntryRow.jam_id == jam_id))).all())
            random.shuffle(entries)
            for number, entry in enumerate(entries, 1):
                entry.number = number

    async def vote(self, jam_id: int, voter: int, member: int) -> None:
        """Let ``voter`` vote for the entry of ``member``, and for no other; raises `DarkroomError` after the vote."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            jam = await _locked(session, jam_id)
            if jam is None or jam.stage != Stage.VOTING or jam.ends <= datetime.now(UTC):
                raise DarkroomError(VOTE_OVER)
            row = (await insert_into(session, JamVoteRow)).values(jam_id=jam_id, voter=voter, member=member)
            keys = [JamVoteRow.jam_id, JamVoteRow.voter]
            await session.execute(row.on_conflict_do_update(index_elements=keys, set_={"member": member}))

    async def creations(self, jam_id: int) -> dict[int, Creation]:
        """Return the creations of a jam by their ids."""
        ids = select(JamEntryRow.creation_id).where(JamEntryRow.jam_id == jam_id)
        return {creation.id: creation for creation in await self._read(select(Creation).where(Creation.id.in_(ids)))}

    async def candidates(self, jam_id: int) -> list[Candidate]:
        """Return the entries whose pictures are shown, by their numbers."""
        creations = await self.creations(jam_id)
        votes = list(await self._read(select(JamVoteRow.member).where(JamVoteRow.jam_id == jam_id)))
        return [
            Candidate(entry, creation, votes.count(entry.member))
            for entry in await self.entries(jam_id)
            if (creation := creations.get(entry.creation_id)) and is_shown(creation)
        ]

    async def crown(self, jam: JamRow, winners: Sequence[Candidate]) -> None:
        """Crown the pictures of the winners."""
        same = {"guild_id": jam.guild_id, "starter": jam.starter, "theme": jam.theme, "given": datetime.now(UTC)}
        rows = [{"creation_id": winner.creation.id, "member": winner.entry.member, **same} for winner in winners]
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await insert_new(session, CrownRow, rows)

    async def crowns(self, creation_ids: Collection[int]) -> Mapping[int, str]:
        """Return the themes of the jams that those creations have won."""
        rows = await self._read(select(CrownRow).where(CrownRow.creation_id.in_(creation_ids)))
        return {row.creation_id: row.theme for row in rows}

    async def crowned(self, guild_id: int) -> list[Starred]:
        """Return the public creations of a server that have won a jam, newest first, `MAX_CROWNED` at most."""
        query: Any = select(Creation, StarredRow.stars).join(CrownRow, CrownRow.creation_id == Creation.id)
        query = query.outerjoin(StarredRow, StarredRow.creation_id == Creation.id).where(CrownRow.guild_id == guild_id)
        query = query.where(Creation.state == State.DELIVERED, Creation.message_id.is_not(None), Creation.flags.is_(None))
        query = query.order_by(CrownRow.creation_id.desc()).limit(MAX_CROWNED)
        async with self._database.reading(DATABASE_UNREACHABLE) as session:
            return [Starred(creation, stars or 0) for creation, stars in (await session.execute(query)).all()]

    async def delete(self, jam_id: int) -> None:
        """Delete a jam that is over."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await delete_jams(session, select(JamRow.id).where(JamRow.id == jam_id))

    async def _read(self, query: Any) -> Sequence[Any]:
        return await self._database.scalars(query, DATABASE_UNREACHABLE)


def is_shown(creation: Creation) -> bool:
    """Return whether members can look at the picture of ``creation``."""
    return creation.state == State.DELIVERED and creation.message_id is not None and bool(creation.pictures)


def voting_ends(jam: JamRow) -> datetime:
    """Return when a vote ends that begins now."""
    return datetime.now(UTC) + timedelta(minutes=jam.voting_minutes)


async def _locked(session: AsyncSession, jam_id: int) -> JamRow | None:
    return (await session.scalars(select(JamRow).where(JamRow.id == jam_id).with_for_update())).one_or_none()


async def _update(session: AsyncSession, jam_id: int, *stages: Stage, **changes: Any) -> bool:
    fitting: list[ColumnElement[bool]] = [JamRow.stage.in_(stages)] if stages else []
    row = update(JamRow).where(JamRow.id == jam_id, *fitting).values(**changes)
    updated: Any = await session.execute(row, execution_options=UNSYNCHRONIZED)
    return bool(updated.rowcount)


def _entry(jam_id: int, member: int) -> Any:
    return delete(JamEntryRow).where(JamEntryRow.jam_id == jam_id, JamEntryRow.member == member)
