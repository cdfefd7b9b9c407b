"""Delete creations with their files, in steps that a crash only interrupts.

What is to be deleted is written down in the same transaction that removes the rows; `Erasure.resume` works off the rest.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import BigInteger, String, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.storage.creations import UNFINISHED_STATES, Creation
from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database
from cogs.core.storage.gallery import PastCreationRow
from cogs.core.storage.images import ImageStore
from cogs.core.storage.jam_rows import delete_crowns, delete_jams_of_server, forget_jams
from cogs.core.storage.reviews import ReviewRow
from cogs.core.storage.stars import board_messages, delete_stars, take_back_stars
from cogs.core.storage.usage import FileRow, insert_new, used_files

log = logging.getLogger(__name__)
ROWS_PER_STEP: Final = 200  # so that a step takes a fraction of a second, and others get their turn
FILES_PER_STEP: Final = 200
MAX_DELETED_MESSAGES: Final = 200  # of a member; Discord's rate limit makes deletion slow
DELETED_COLUMNS: Final = (
    Creation.id,
    Creation.parent_id,
    Creation.channel_id,
    Creation.message_id,
    Creation.posting_in,
    Creation.token_only,
    Creation.source,
    Creation.pictures,
    Creation.timelapse,
)


class ForgottenMemberRow(Base):
    """A member whose creations with ids up to ``before_id`` are to be deleted."""

    __tablename__ = "forgotten_members"

    member: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    before_id: Mapped[int] = mapped_column(BigInteger)


class DeletedFileRow(Base):
    """A file to delete from the image store, unless a creation uses it."""

    __tablename__ = "deleted_files"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)


class DeletedMessageRow(Base):
    """A message to delete from Discord."""

    __tablename__ = "deleted_messages"

    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    channel_id: Mapped[int] = mapped_column(BigInteger)


@dataclass
class Erased:
    """What was deleted: creations, names of pictures (without timelapses), and messages.

    The ``messages`` are those to delete from Discord; ``older_messages`` counts those that are left there. Of the pictures,
    ``kept`` remain because other creations use them. ``is_complete`` is False if files are still to be deleted.
    """

    creations: int = 0
    pictures: set[str] = field(default_factory=set)
    kept: int = 0
    messages: int = 0
    older_messages: int = 0
    is_complete: bool = True


class Erasure:
    """Deletes creations and their files. All methods raise `DatabaseUnavailableError`.

    The operator keeps finished creations for ``max_days`` (None: for ever).
    """

    def __init__(self, database: Database, image_store: ImageStore, max_days: float | None = None) -> None:
        self._database = database
        self._image_store = image_store
        self.max_days = max_days

    async def note_member(self, member: int, before_id: int) -> None:
        """Write down that a member's creations are to be deleted."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await session.merge(ForgottenMemberRow(member=member, before_id=before_id))

    async def erase_member(self, member: int, before_id: int) -> Erased:
        """Delete all creations of ``member`` with ids up to ``before_id``, all stars that they gave, and their part in jams."""
        erased = Erased()
        rows: Any = select(*DELETED_COLUMNS).where(Creation.owner == member, Creation.id <= before_id)
        while await self._erase_some(rows, erased):
            pass
        is_starring = True
        while is_starring:
            async with self._database.transaction(DATABASE_UNREACHABLE) as session:
                is_starring = await take_back_stars(session, member)
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await forget_jams(session, member)
            moderated = update(ReviewRow).where(ReviewRow.moderator == member).values(moderator=None)
            await session.execute(moderated, execution_options={"synchronize_session": False})
            done = delete(ForgottenMemberRow).where(ForgottenMemberRow.member == member)
            await session.execute(done.where(ForgottenMemberRow.before_id <= before_id))
        return erased

    async def erase_finished(self, before_id: int) -> int:
        """Delete the finished creations with ids below ``before_id``, but for their lineage; return how many."""
        erased = Erased()
        finished = Creation.state.not_in(UNFINISHED_STATES)
        rows: Any = select(*DELETED_COLUMNS).where(Creation.id < before_id, finished)
        while await self._erase_some(rows, erased, is_lineage_kept=True):
            pass
        return erased.creations

    async def erase_server(self, guild_id: int) -> int:
        """Delete the finished creations of a server, but for their lineage, and its jams; return how many."""
        erased = Erased()
        finished = Creation.state.not_in(UNFINISHED_STATES)
        rows: Any = select(*DELETED_COLUMNS).where(Creation.guild_id == guild_id, finished)
        while await self._erase_some(rows, erased, is_lineage_kept=True):
            pass
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await delete_jams_of_server(session, guild_id)
        await self.delete_files()
        return erased.creations

    async def _erase_some(self, rows: Any, erased: Erased, is_lineage_kept: bool = False) -> bool:
        """Delete up to `ROWS_PER_STEP` of the creations, newest first; return whether there were any."""
        async with self._database.reading(DATABASE_UNREACHABLE) as session:
            creations = (await session.execute(rows.order_by(Creation.id.desc()).limit(ROWS_PER_STEP))).all()
        if not creations:
            return False
        ids = [creation.id for creation in creations]
        names = {name for creation in creations for name in _files(creation)}
        options: dict[str, Any] = {"execution_options": {"synchronize_session": False}}
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            reviews = select(ReviewRow).where(ReviewRow.creation_id.in_(ids))
            if is_lineage_kept:
                await _keep_lineage(session, creations)
            else:
                messages = await board_messages(session, ids) + _messages(creations, (await session.scalars(reviews)).all())
                room = MAX_DELETED_MESSAGES - erased.messages
                await insert_new(session, DeletedMessageRow, messages[:room])
            await delete_stars(session, ids)
            await delete_crowns(session, ids)
            await session.execute(delete(ReviewRow).where(ReviewRow.creation_id.in_(ids)), **options)
            await insert_new(session, DeletedFileRow, [{"name": name} for name in sorted(names)])
            await session.execute(delete(FileRow).where(FileRow.creation_id.in_(ids)), **options)
            await session.execute(delete(Creation).where(Creation.id.in_(ids)), **options)
        erased.creations += len(ids)
        erased.pictures |= names - {creation.timelapse for creation in creations}
        if not is_lineage_kept:
            erased.messages += len(messages[:room])
            erased.older_messages += len(messages[room:])
        return True

    async def delete_files(self) -> None:
        """Delete the files that are written down, unless a creation uses them.

        Raises `DarkroomError` if the image store fails; the rest remains written down.
        """
        while True:
            names = await self._database.scalars(select(DeletedFileRow.name).limit(FILES_PER_STEP), DATABASE_UNREACHABLE)
            if not names:
                return
            await self._image_store.delete(set(names) - await used_files(self._database, names))
            async with self._database.transaction(DATABASE_UNREACHABLE) as session:
                await session.execute(delete(DeletedFileRow).where(DeletedFileRow.name.in_(names)))

    async def messages(self) -> list[tuple[int, int]]:
        """Return channel and id of the messages that are to be deleted from Discord."""
        async with self._database.reading(DATABASE_UNREACHABLE) as session:
            rows = await session.scalars(select(DeletedMessageRow).order_by(DeletedMessageRow.message_id.desc()))
            return [(row.channel_id, row.message_id) for row in rows]

    async def withdraw(self, message_ids: Collection[int]) -> bool:
        """Write down the starboard's messages about what the deleted messages ``message_ids`` showed, if there are any."""
        shown = select(Creation.id).where(Creation.message_id.in_(message_ids))
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            messages = await board_messages(session, shown)
            await insert_new(session, DeletedMessageRow, messages)
        return bool(messages)

    async def mark_deleted(self, message_id: int) -> None:
        """Record that a message was deleted, or cannot be."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await session.execute(delete(DeletedMessageRow).where(DeletedMessageRow.message_id == message_id))

    async def resume(self) -> None:
        """Finish what an earlier run has begun to delete."""
        for row in await self._database.scalars(select(ForgottenMemberRow), DATABASE_UNREACHABLE):
            log.info("resuming the deletion of a member's data")
            await self.erase_member(row.member, row.before_id)
        await self.delete_files()
        await self._database.erase_deleted()


async def _keep_lineage(session: AsyncSession, creations: Sequence[Any]) -> None:
    """Keep the ids of those creations that others came from, or that came from others."""
    ids = [creation.id for creation in creations]
    parents = set((await session.scalars(select(Creation.parent_id).where(Creation.parent_id.in_(ids)))).all())
    parents.update((await session.scalars(select(PastCreationRow.parent_id).where(PastCreationRow.parent_id.in_(ids)))).all())
    related = [creation for creation in creations if creation.parent_id is not None or creation.id in parents]
    await insert_new(session, PastCreationRow, [{"id": one.id, "parent_id": one.parent_id} for one in related])


def _files(creation: Any) -> set[str]:
    return {*(creation.pictures or ()), *filter(None, (creation.source, creation.timelapse))}


def _messages(creations: Sequence[Any], reviews: Sequence[ReviewRow]) -> list[dict[str, Any]]:
    """Return the messages that show the creations: reviews first, then results from new to old."""
    found = [(review.message_id, review.channel_id) for review in reviews if review.message_id]
    for creation in creations:
        is_reachable = creation.posting_in or not creation.token_only  # others are visible to the member only
        if creation.message_id and is_reachable:
            found.append((creation.message_id, creation.posting_in or creation.channel_id))
    return [{"message_id": message_id, "channel_id": channel_id} for message_id, channel_id in found]
