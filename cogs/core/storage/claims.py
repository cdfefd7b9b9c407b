"""Which process makes which creation: each is held by one, and what a dead one held may be claimed by any other.

They all can finish it: Discord's REST takes the bot's token, and the interaction's, from every process.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from typing import Any, Final

from sqlalchemy import func, select, update

from cogs.core.storage.creations import UNFINISHED_STATES, Creation, CreationStoreError, State
from cogs.core.storage.database import DATABASE_UNREACHABLE, Database
from cogs.core.storage.lease import Lease, ProcessRow

log = logging.getLogger(__name__)
ACTIVE_STATES: Final = (State.ACCEPTED, State.RUNNING)
PENDING_STATES: Final = (*ACTIVE_STATES, State.RENDERED)


class Claims:
    """Those of the process of ``lease``. All methods raise `CreationStoreError`."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database, self.lease = database, lease
        self._unconfirmed: set[int] = set()  # whether they were claimed is not known, as the database failed meanwhile

    async def claim_orphans(self, most: int | None = None) -> list[Creation]:
        """Claim up to ``most`` unfinished creations whose holder is dead, and give them, oldest first.

        However many processes do so at once, each is claimed by one of them.
        """
        ours = Creation.owner_process == self.lease.process_id
        living = ours | Creation.owner_process.in_(select(ProcessRow.process_id))
        left = ~living | ours & Creation.id.in_(self._unconfirmed)
        orphaned = select(Creation).where(Creation.state.in_(UNFINISHED_STATES), left)
        locked = orphaned.order_by(Creation.id).limit(most).with_for_update(skip_locked=True)
        async with self._database.transaction(DATABASE_UNREACHABLE, CreationStoreError) as session:
            found = list((await session.scalars(locked)).all())
            await self._assign(session, found)
        self._unconfirmed.difference_update(creation.id for creation in found)
        return found

    async def acquire(self, creation_id: int, *states: State) -> Creation | None:
        """Claim a creation from whoever holds it; None where it is in none of ``states`` any more."""
        wanted = select(Creation).where(Creation.id == creation_id, Creation.state.in_(states)).with_for_update()
        async with self._database.transaction(DATABASE_UNREACHABLE, CreationStoreError) as session:
            if found := (await session.scalars(wanted)).one_or_none():
                await self._assign(session, [found])
        self._unconfirmed.discard(creation_id)
        return found

    async def find_lost(self, ids: Collection[int]) -> set[int]:
        """Tell which of the creations of those ``ids`` are not held by this process any more, or have ended."""
        if not ids:
            return set()
        held = Creation.owner_process == self.lease.process_id, Creation.state.in_(UNFINISHED_STATES)
        ours = select(Creation.id).where(Creation.id.in_(ids), *held)
        async with self._database.transaction(DATABASE_UNREACHABLE, CreationStoreError) as session:
            return set(ids) - set((await session.scalars(ours)).all())

    async def held_by_others(self, member: int) -> list[int]:
        """Give the ids of what ``member`` waits for and other processes hold."""
        if not self.lease.is_shared:
            return []
        theirs = Creation.owner == member, Creation.state.in_(PENDING_STATES), Creation.owner_process != self.lease.process_id
        async with self._database.transaction(DATABASE_UNREACHABLE, CreationStoreError) as session:
            return list((await session.scalars(select(Creation.id).where(*theirs))).all())

    async def get_active(self, creation_id: int) -> Creation | None:
        """Find the creation of that id where any process makes it or is about to go on with it."""
        wanted = select(Creation).where(Creation.id == creation_id, Creation.state.in_(ACTIVE_STATES))
        async with self._database.transaction(DATABASE_UNREACHABLE, CreationStoreError) as session:
            return (await session.scalars(wanted)).one_or_none()

    async def wait_until_idle(self, is_wanted: Callable[[], bool] = lambda: True) -> bool:
        """Wait until nobody waits for anything, whichever process makes it; False once that is not wanted any more."""
        while is_wanted():
            with contextlib.suppress(CreationStoreError):
                if not self.lease.is_shared or not await self.count_pending():
                    return True
            await asyncio.sleep(self.lease.renew_interval)
        return False

    async def count_pending(self) -> int:
        """Count what is waited for, whichever process makes it."""
        async with self._database.transaction(DATABASE_UNREACHABLE, CreationStoreError) as session:
            return await session.scalar(select(func.count()).where(Creation.state.in_(PENDING_STATES))) or 0

    async def _assign(self, session: Any, found: Collection[Creation]) -> None:
        # When it was changed stays: it tells since when a message may have been posted.
        self._unconfirmed.update(creation.id for creation in found if creation.owner_process != self.lease.process_id)
        held: dict[str, Any] = {"owner_process": self.lease.process_id, "changed": Creation.changed}
        claiming = update(Creation).where(Creation.id.in_([creation.id for creation in found])).values(**held)
        await session.execute(claiming, execution_options={"synchronize_session": False})
