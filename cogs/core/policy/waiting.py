"""How many requests a member may have unfinished at a time."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from cogs.core.storage.claims import Claims
from diffusion.errors import QueueFullError
from diffusion.serving.interface import ImageEngine
from diffusion.text import plural


class Waiting:
    """Counts what each member waits for, in all processes; ``most`` of it are allowed."""

    def __init__(self, engine: ImageEngine, claims: Claims, most: int) -> None:
        self.engine, self.claims, self.most = engine, claims, most
        self._prepared: Counter[int] = Counter()

    @contextlib.asynccontextmanager
    async def preparing(self, member: int) -> AsyncIterator[None]:
        """Count what a member has prepared, such as attachments downloaded and held in memory; raises `QueueFullError`."""
        await self.check(member)
        self._prepared[member] += 1
        try:
            yield
        finally:
            self._prepared[member] -= 1
            self._prepared += Counter()  # forgets those who have none

    async def check(self, member: int) -> None:
        """Raise `QueueFullError` where ``member`` may not ask for more now; no other request is let pass before this returns."""
        elsewhere = len(await self.claims.held_by_others(member))
        if self.engine.jobs_of(member) + self._prepared[member] + elsewhere >= self.most:
            raise QueueFullError(
                plural(
                    "You wait for {most} request already, which is all I take from one member."
                    " Please wait for it, or cancel it with `/queue`.",
                    "You wait for {most} requests already, which is all I take from one member."
                    " Please wait for one of them, or cancel one with `/queue`.",
                    by="most",
                ),
                most=self.most,
            )
