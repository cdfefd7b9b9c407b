"""Treat a deleted review as a decision against its pictures.

Nobody can decide on pictures that moderators cannot see any more.
"""

import contextlib

import discord
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.reviews import Decision


class ReviewCog(commands.Cog):
    """Listens for the deletion of review messages and of moderators' channels."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @commands.Cog.listener()
    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        """Reject the pictures of a deleted review message."""
        if self.service.message_index.may_contain(event.message_id):
            await self._reject(message_id=event.message_id)

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """Reject the pictures of each deleted review message."""
        for message_id in filter(self.service.message_index.may_contain, event.message_ids):
            await self._reject(message_id=message_id)

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Reject all pictures that were under review in a deleted channel."""
        await self._reject(channel_id=channel.id)

    async def _reject(self, **where: int) -> None:
        with contextlib.suppress(DatabaseUnavailableError):  # the store has logged it
            for review in await self.service.review_store.undecided(**where):
                _, is_first = await self.service.review_store.decide(review.creation_id, Decision.DELETE, None)
                if is_first:
                    await self.service.resume_reviewed(review.creation_id)
