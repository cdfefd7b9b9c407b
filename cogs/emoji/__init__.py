"""Emojis and stickers: cut out a picture's subject, name it and add it to the server."""

from typing import TYPE_CHECKING

from cogs.emoji.cog import EmojiCog

if TYPE_CHECKING:
    from bot import Darkroom


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(EmojiCog(bot.service))
