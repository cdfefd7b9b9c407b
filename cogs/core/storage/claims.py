"""The ownership of creations among several processes.

Each creation belongs to one process; when that process dies, any other may claim it. Every process can finish every creation,
because Discord accepts the bot's token and the interaction's token from all of them.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cogs.core.storage.creations import UNFINISHED_STATES, Creation, CreationStoreError, State
from cogs.core.storage.database import DATABASE_UNREACHABLE, Database
from cogs.core.storage.lease import Lease, ProcessRow

ACTIVE_STATES: Final = (State.ACCEPTED, State.RUNNING)
PENDING_STATES: Final = (*ACTIVE_STATES, State.RENDERED)


class Claims:
    """Claims creations for the process of ``lease``.

    All methods raise `CreationStoreError`.
    """

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self.lease = lease
        self._unconfirmed: set[int] = set()  # claimed in a transaction whose commit was not confirmed

    async def claim_orphans(self, limit: int | None = None) -> list[Creation]:
        """Claim up to ``limit`` unfinished creations of dead processes, oldest first.

        If several processes claim at once, each creation goes to one of them.
        """
        mine = Creation.owner_process == self.lease.process_id
        owner_lives = Creation.owner_process.in_(select(ProcessRow.process_id))
        orphaned = or_(~(mine | owner_lives), mine & Creation.id.in_(self._unconfirmed))
        rows = select(Creation).where(Creation.state.in_(UNFINISHED_STATES), orphaned).order_by(Creation.id)
        async with self._database.transaction(DATABASE_UNREACHABLE, CreationStoreError) as session:
            found = list((await session.scalars(rows.limit(limit).with_for_update(skip_locked=True))).all())
            await self._assign(session, found)
        self._unconfirmed.difference_update(creation.id for creation in found)
        return found

    async def acquire(self, creation_id: int, *states: State) -> Creation | None:
        """Take a creation over from its process.

        Returns None if its state is none of ``states``.
        """
        row = select(Creation).where(Creation.id == creation_id, Creation.state.in_(states)).with_for_update()
        async with self._database.transaction(DATABASE_UNREACHABLE, CreationStoreError) as session:
            if found := (await session.scalars(row)).one_or_none():
                await self._assign(session, [found])
        self._unconfirmed.discard(creation_id)
        return found

    async def find_lost(self, creation_ids: Collection[int]) -> set[int]:
        """Return those creations that have ended or that this process does not own."""
        if not creation_ids:
            return set()
        owned = select(Creation.id).where(
            Creation.id.in_(creation_ids),
            Creation.owner_process == self.lease.process_id,
            Creation.state.in_(UNFINISHED_STATES),
        )
        return set(creation_ids) - set(await self._database.scalars(owned, DATABASE_UNREACHABLE, CreationStoreError))

    async def held_by_others(self, member: int) -> list[int]:
        """Return the ids of the pending creations of ``member`` in other processes."""
        if not self.lease.is_shared:
            return []
        pending = select(Creation.id).where(
            Creation.owner == member,
            Creation.state.in_(PENDING_STATES),
            Creation.owner_process != self.lease.process_id,
        )
        return list(await self._database.scalars(pending, DATABASE_UNREACHABLE, CreationStoreError))

    async def get_active(self, creation_id: int) -> Creation | None:
        """Return the creation if any process draws it or is about to."""
        row = select(Creation).where(Creation.id == creation_id, Creation.state.in_(ACTIVE_STATES))
        return next(iter(await self._database.scalars(row, DATABASE_UNREACHABLE, CreationStoreError)), None)

    async def count_pending(self) -> int:
        """Return how many creations are pending in all processes."""
        count = select(func.count()).where(Creation.state.in_(PENDING_STATES))
        return int((await self._database.scalars(count, DATABASE_UNREACHABLE, CreationStoreError))[0])

    async def wait_until_idle(self, is_wanted: Callable[[], bool] = lambda: True) -> bool:
        """Wait until no process has a pending creation.

        Returns False once ``is_wanted()`` is false.
        """
        while is_wanted():
            with contextlib.suppress(CreationStoreError):
                if not self.lease.is_shared or not await self.count_pending():
                    return True
            await asyncio.sleep(self.lease.renew_interval)
        return False

    async def _assign(self, session: AsyncSession, creations: Sequence[Creation]) -> None:
        mine = self.lease.process_id
        self._unconfirmed.update(creation.id for creation in creations if creation.owner_process != mine)
        ids = [creation.id for creation in creations]
        # ``changed`` keeps its value: a message may have been posted since then.
        assign = update(Creation).where(Creation.id.in_(ids)).values(owner_process=mine, changed=Creation.changed)
        await session.execute(assign, execution_options={"synchronize_session": False})
