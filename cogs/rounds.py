"""What makes several processes one bot, again and again: to live, to hear what the others did, to take over from the dead."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from cogs.claims import Claims
from cogs.database import DatabaseFailed
from cogs.development import Development
from cogs.journal import Creation
from cogs.orders import Orders
from cogs.registry import Registry

log = logging.getLogger(__name__)
AT_ONCE: Final = 8  # orphans that one process takes in a round, so that the others get some


class Rounds:
    """Those of one process; ``take_over`` is given what it claims, as long as ``is_open`` says so."""

    def __init__(
        self,
        claims: Claims,
        registry: Registry,
        orders: Orders,
        development: Development,
        take_over: Callable[[Creation], None],
        is_open: Callable[[], bool],
    ) -> None:
        self.claims, self.registry, self.orders = claims, registry, orders
        self.development, self.take_over, self.is_open = development, take_over, is_open

    async def run(self) -> None:
        """Make one every beat of the lease; what fails is done in the next."""
        while True:
            await asyncio.sleep(self.claims.lease.beat)
            try:
                await self.make()
            except DatabaseFailed:  # which is in the log
                pass
            except Exception:  # whatever it is, the lease has to be renewed
                log.exception("a round failed")

    async def make(self) -> None:
        """Renew the lease first, as all else can wait; raises `DatabaseFailed`."""
        await self.claims.lease.renew()
        for creation_id in await self.claims.lost([creation.id for creation in self.development.in_hand]):
            self.development.lose(creation_id)
        await self.orders.obey()
        await self.registry.refresh()
        await self.claims.lease.bury()
        for creation in await self.claims.orphans(AT_ONCE) if self.is_open() else ():
            log.info("taking over %r", creation)
            self.take_over(creation)
