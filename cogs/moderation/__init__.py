"""Moderation: blocked words, and the review of flagged pictures."""

from typing import TYPE_CHECKING

from cogs.moderation.cog import ModerationCog
from cogs.moderation.review import ReviewCog

if TYPE_CHECKING:
    from bot import Darkroom


async def setup(bot: "Darkroom") -> None:
    """Add the cogs."""
    await bot.add_cog(ModerationCog(bot.service))
    await bot.add_cog(ReviewCog(bot.service))
