"""Delete old data once an hour: usage, undecided reviews and pictures."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import discord

from cogs.core.storage.reviews import Decision
from cogs.core.storage.stores import Stores
from cogs.core.tasks import run_all

INTERVAL_SECONDS = 3600.0


class Maintenance:
    """Keeps the tables and the image store small.

    ``resume_reviewed`` continues a creation whose review has ended.
    """

    def __init__(self, stores: Stores, resume_reviewed: Callable[[int], Awaitable[None]]) -> None:
        self.creation_store = stores.creation_store
        self.quota_store = stores.quota_store
        self.image_store = stores.image_store
        self.review_store = stores.review_store
        self.resume_reviewed = resume_reviewed

    async def run(self) -> None:
        """Clean up once an hour; a step that fails is tried again the next time."""
        while True:
            await run_all(self.quota_store.delete_past, self.give_up_reviews, self.finish_reviews, self.prune)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def give_up_reviews(self) -> None:
        """Reject pictures that no moderator has decided on in time.

        The time is that for which the image store keeps pictures.
        """
        oldest = discord.utils.utcnow() - timedelta(days=self.image_store.max_days)
        for review in await self.review_store.undecided():
            if discord.utils.snowflake_time(review.creation_id) < oldest:
                await self.review_store.decide(review.creation_id, Decision.DELETE, None)
                await self.resume_reviewed(review.creation_id)

    async def finish_reviews(self) -> None:
        """Apply decisions that a failure or a shutdown has prevented so far."""
        for creation_id in await self.review_store.unapplied():
            await self.resume_reviewed(creation_id)

    async def prune(self) -> None:
        """Delete the oldest pictures if there are too many.

        Pictures that an unfinished creation needs stay.
        """
        await self.image_store.prune({name for row in await self.creation_store.unfinished() for name in row.files})
