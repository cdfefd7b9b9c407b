"""Emojis and stickers: cut a subject out, name it and add it to the server."""

from typing import TYPE_CHECKING

from cogs.emoji.cog import EmojiCog
from cogs.emoji.draft import begin_draft

if TYPE_CHECKING:
    from bot import Darkroom


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    bot.service.result_actions |= {"emoji": begin_draft, "sticker": begin_draft}
    await bot.add_cog(EmojiCog(bot.service))
