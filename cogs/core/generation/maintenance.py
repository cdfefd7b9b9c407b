"""Delete old data once an hour, and finish deletions that were interrupted."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import discord

from cogs.core.generation.message_eraser import MessageEraser
from cogs.core.storage.clock import ClockGuard
from cogs.core.storage.reviews import Decision
from cogs.core.storage.stores import Stores
from cogs.core.tasks import run_all

log = logging.getLogger(__name__)
INTERVAL_SECONDS = 3600.0


class Maintenance:
    """Keeps the tables and the image store small.

    ``resume_reviewed`` continues a creation whose review has ended.
    """

    def __init__(
        self, stores: Stores, message_eraser: MessageEraser, resume_reviewed: Callable[[int], Awaitable[None]]
    ) -> None:
        self.stores = stores
        self.erasure = stores.personal_data.erasure
        self.message_eraser = message_eraser
        self.resume_reviewed = resume_reviewed
        self._clock = ClockGuard()

    async def run(self) -> None:
        """Clean up once an hour; a step that fails is tried again the next time."""
        while True:
            await run_all(self.erasure.resume, self.message_eraser.run, self.finish_reviews, self.delete_old, self.prune)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def delete_old(self) -> None:
        """Delete what is too old, unless the clock may be wrong."""
        newest = await self.stores.creation_store.newest()
        if self._clock.is_trusted(newest.created.timestamp() if newest else None):
            await run_all(
                self.stores.quota_store.delete_past,
                self.give_up_reviews,
                self.delete_old_requests,
                self.delete_left_servers,
                self.stores.database.delete_old_copies,
            )

    async def give_up_reviews(self) -> None:
        """Reject pictures that no moderator has decided on in time.

        The time is that for which the image store keeps pictures.
        """
        oldest = discord.utils.utcnow() - timedelta(days=self.stores.image_store.max_days)
        for review in await self.stores.review_store.undecided():
            if discord.utils.snowflake_time(review.creation_id) < oldest:
                await self.stores.review_store.decide(review.creation_id, Decision.DELETE, None)
                await self.resume_reviewed(review.creation_id)

    async def finish_reviews(self) -> None:
        """Apply decisions that a failure or a shutdown has prevented so far."""
        for creation_id in await self.stores.review_store.unapplied():
            await self.resume_reviewed(creation_id)

    async def delete_old_requests(self) -> None:
        """Delete finished requests that are older than the operator keeps them, but for their lineage."""
        if self.erasure.max_days is not None:
            oldest = discord.utils.utcnow() - timedelta(days=self.erasure.max_days)
            await self.erasure.erase_finished(discord.utils.time_snowflake(oldest))
            await self.erasure.delete_files()

    async def delete_left_servers(self) -> None:
        """Delete the data of servers that the bot left longer ago than the operator keeps them."""
        if count := await self.stores.server_store.delete_left():
            log.info("deleted the data of servers that the bot has left: %d", count)

    async def prune(self) -> None:
        """Delete the oldest pictures if there are too many.

        Pictures that an unfinished creation needs stay.
        """
        unfinished = await self.stores.creation_store.unfinished()
        await self.stores.image_store.prune({name for row in unfinished for name in row.files})
