"""What has to be done again and again while the bot runs: forgetting what is old."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import discord

from cogs.core.storage.creations import CreationStore
from cogs.core.storage.images import ImageStore
from cogs.core.storage.quotas import QuotaStore
from cogs.core.storage.reviews import Decision, ReviewStore
from cogs.core.tasks import run_all

SECONDS = 3600.0


class Maintenance:
    """Keeps the tables and the gallery small. ``resume_reviewed`` is told which held creations nobody will decide on any more."""

    def __init__(
        self,
        creation_store: CreationStore,
        quota_store: QuotaStore,
        image_store: ImageStore,
        reviews: ReviewStore,
        resume_reviewed: Callable[[int], Awaitable[None]],
    ) -> None:
        self.creation_store, self.quota_store, self.image_store, self.review_store, self.resume_reviewed = (
            creation_store,
            quota_store,
            image_store,
            reviews,
            resume_reviewed,
        )

    async def run(self) -> None:
        """Do everything once an hour; what fails is done the next time."""
        while True:
            await run_all(self.quota_store.delete_past, self.give_up_reviews, self.finish_reviews, self.prune)
            await asyncio.sleep(SECONDS)

    async def give_up_reviews(self) -> None:
        """Let held pictures that no moderator has decided on go as pictures do that are too old."""
        oldest = discord.utils.utcnow() - timedelta(days=self.image_store.max_days)
        for review in await self.review_store.undecided():
            if discord.utils.snowflake_time(review.creation_id) < oldest:
                await self.review_store.decide(review.creation_id, Decision.DELETE, None)
                await self.resume_reviewed(review.creation_id)

    async def finish_reviews(self) -> None:
        """Go on where moderators decided and nobody could do it, as the database failed or the bot was ending."""
        for creation_id in await self.review_store.unapplied():
            await self.resume_reviewed(creation_id)

    async def prune(self) -> None:
        """Delete the oldest pictures where there are too many; never what somebody waits for."""
        await self.image_store.prune({name for row in await self.creation_store.unfinished() for name in row.files})
