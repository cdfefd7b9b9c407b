"""Emojis and stickers: cut a subject out, name it and add it to the server."""

from typing import TYPE_CHECKING

from cogs.core.messages.views import ResultAction
from cogs.emoji.cog import EmojiCog
from cogs.emoji.draft import begin_draft
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    bot.service.result_actions.add(
        ResultAction("emoji", begin_draft, N_("Make emoji"), "😀", N_("Cuts it out for this server's emojis"), of_picture=True),
        ResultAction(
            "sticker", begin_draft, N_("Make sticker"), "🏷️", N_("Cuts it out for this server's stickers"), of_picture=True
        ),
    )
    await bot.add_cog(EmojiCog(bot.service))
