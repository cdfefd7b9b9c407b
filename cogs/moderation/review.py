"""What moderators decide about held pictures, in the channel that asks them."""

import contextlib
from typing import Any

import discord
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.messages.review_button import ReviewButton
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.reviews import Decision
from diffusion.errors import DarkroomError
from diffusion.text import N_

Interaction = discord.Interaction[Any]
MODERATORS_ONLY = N_("Only members who may delete others' messages here can decide that.")
GONE = N_("These pictures are gone, so there is nothing to decide any more.")


class ReviewCog(commands.Cog):
    """Answers the buttons of `cogs.core.messages.review_button`."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    async def press(self, interaction: Interaction, decision: Decision, creation_id: int) -> None:
        """Decide; of several moderators the first counts, and the others are told."""
        async with self.service.answering(interaction):
            if not interaction.permissions.manage_messages:
                raise DarkroomError(MODERATORS_ONLY)
            await interaction.response.defer()
            review, first = await self.service.reviews.decide(creation_id, decision, interaction.user.id)
            if review is None:
                raise DarkroomError(GONE)
            if not first:
                if review.moderator is None:
                    raise DarkroomError("That was decided already.")
                raise DarkroomError("{moderator} has decided already.", moderator=f"<@{review.moderator}>")
            await self.service.resume_reviewed(creation_id)

    @commands.Cog.listener()
    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        """Take the deletion of a message that asks for a decision as one."""
        await self._give_up(message_id=event.message_id)

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """Do so for each of many."""
        for message_id in event.message_ids:
            await self._give_up(message_id=message_id)

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Keep nobody waiting for a channel that is gone."""
        await self._give_up(channel_id=channel.id)

    async def _give_up(self, **where: int) -> None:
        with contextlib.suppress(DatabaseUnavailableError):  # which is in the log
            for review in await self.service.reviews.waiting(**where):
                _, first = await self.service.reviews.decide(review.creation_id, Decision.DELETE, None)
                if first:
                    await self.service.resume_reviewed(review.creation_id)


async def setup(bot: Any) -> None:
    """Add the cog and make its buttons known."""
    bot.add_dynamic_items(ReviewButton)
    await bot.add_cog(ReviewCog(bot.service))
