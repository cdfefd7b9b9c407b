"""Coordinate processes: renew the lease, poll, take over orphaned jobs."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cogs.core.generation.runner import JobRunner
from cogs.core.storage.broadcasts import Broadcasts
from cogs.core.storage.claims import Claims
from cogs.core.storage.creations import Creation
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.tasks import run_all

log = logging.getLogger(__name__)
MAX_ORPHANS: Final = 8  # per tick, so that the other processes get some


@dataclass(frozen=True)
class ProcessCoordinator:
    """Keeps this process in step with the others.

    While it ``has_room``, it claims orphans and passes them to ``resume_orphan``.
    """

    claims: Claims
    preference_store: PreferenceStore
    broadcasts: Broadcasts
    runner: JobRunner
    resume_orphan: Callable[[Creation], None]
    has_room: Callable[[], bool]

    async def heartbeat(self) -> None:
        """Renew the lease at every interval.

        It runs as a task of its own, because a `tick` may take long.
        """
        while True:
            await asyncio.sleep(self.claims.lease.renew_interval)
            await run_all(self.claims.lease.renew)

    async def run(self) -> None:
        """Tick at every interval of the lease."""
        while True:
            await asyncio.sleep(self.claims.lease.renew_interval)
            await self.tick()

    async def tick(self) -> None:
        """Abandon lost creations, poll for changes and take over orphans.

        A step that fails does not stop the others.
        """
        await run_all(
            self._abandon_lost,
            self.broadcasts.poll,
            self.preference_store.refresh,
            self.runner.creation_store.flush,
            self.claims.lease.reap_expired,
            self._claim_orphans,
        )

    async def _abandon_lost(self) -> None:
        for creation_id in await self.claims.find_lost([creation.id for creation in self.runner.active]):
            self.runner.abandon(creation_id)

    async def _claim_orphans(self) -> None:
        if not self.has_room():
            return
        for creation in await self.claims.claim_orphans(MAX_ORPHANS):
            log.info("taking over %r", creation)
            self.resume_orphan(creation)
