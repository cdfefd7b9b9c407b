"""What has to be done again and again while the bot runs: forgetting what is old."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import discord

from cogs.core.storage.creations import Journal
from cogs.core.storage.images import Gallery
from cogs.core.storage.quotas import Ledger
from cogs.core.storage.reviews import Decision, Reviews
from cogs.core.tasks import do_all

SECONDS = 3600.0


class Upkeep:
    """Keeps the tables and the gallery small. ``go_on`` is told which held creations nobody will decide on any more."""

    def __init__(
        self, journal: Journal, ledger: Ledger, gallery: Gallery, reviews: Reviews, go_on: Callable[[int], Awaitable[None]]
    ) -> None:
        self.journal, self.ledger, self.gallery, self.reviews, self.go_on = journal, ledger, gallery, reviews, go_on

    async def run(self) -> None:
        """Do everything once an hour; what fails is done the next time."""
        while True:
            await do_all(self.ledger.forget, self.give_up_reviews, self.finish_reviews, self.prune)
            await asyncio.sleep(SECONDS)

    async def give_up_reviews(self) -> None:
        """Let held pictures that no moderator has decided on go as pictures do that are too old."""
        oldest = discord.utils.utcnow() - timedelta(days=self.gallery.max_days)
        for review in await self.reviews.waiting():
            if discord.utils.snowflake_time(review.creation_id) < oldest:
                await self.reviews.decide(review.creation_id, Decision.DELETE, None)
                await self.go_on(review.creation_id)

    async def finish_reviews(self) -> None:
        """Go on where moderators decided and nobody could do it, as the database failed or the bot was ending."""
        for creation_id in await self.reviews.unfinished():
            await self.go_on(creation_id)

    async def prune(self) -> None:
        """Delete the oldest pictures where there are too many; never what somebody waits for."""
        await self.gallery.prune({name for row in await self.journal.unfinished() for name in row.files})
