"""What makes several processes one bot, again and again: to live, to hear what the others did, to take over from the dead."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from cogs.core.generation.runner import JobRunner
from cogs.core.storage.broadcasts import Broadcasts
from cogs.core.storage.claims import Claims
from cogs.core.storage.creations import Creation
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.tasks import run_all

log = logging.getLogger(__name__)
AT_ONCE: Final = 8  # orphans that one process takes in a round, so that the others get some


class ProcessCoordinator:
    """Those of one process, by `live` and `run`. ``resume_orphan`` is given what it claims, as long as ``has_room`` says so."""

    def __init__(
        self,
        claims: Claims,
        preference_store: PreferenceStore,
        orders: Broadcasts,
        runner: JobRunner,
        resume_orphan: Callable[[Creation], None],
        has_room: Callable[[], bool],
    ) -> None:
        self.claims, self.preference_store, self.broadcasts = claims, preference_store, orders
        self.runner, self.resume_orphan, self.has_room = runner, resume_orphan, has_room

    async def live(self) -> None:
        """Renew the lease every beat of it, however long all else takes."""
        await self._repeat(self.claims.lease.renew)

    async def run(self) -> None:
        """Make a round every beat of the lease."""
        bury, settle = self.claims.lease.reap_expired, self.runner.creation_store.flush
        await self._repeat(self._lose, self.broadcasts.poll, self.preference_store.refresh, settle, bury, self._claim)

    async def _repeat(self, *calls: Callable[[], Awaitable[None]]) -> None:
        """Do all ``calls`` every beat; what fails is done in the next."""
        while True:
            await asyncio.sleep(self.claims.lease.renew_interval)
            await run_all(*calls)

    async def _lose(self) -> None:
        for creation_id in await self.claims.find_lost([creation.id for creation in self.runner.active]):
            self.runner.abandon(creation_id)

    async def _claim(self) -> None:
        for creation in await self.claims.claim_orphans(AT_ONCE) if self.has_room() else ():
            log.info("taking over %r", creation)
            self.resume_orphan(creation)
