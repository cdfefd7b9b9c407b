"""Favourites: stars under pictures, /favourites, and the gallery and starboard of a server."""

from typing import TYPE_CHECKING

from cogs.core.messages.views import ResultAction
from cogs.favourites.cog import FavouritesCog
from cogs.favourites.star import toggle
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom


async def setup(bot: "Darkroom") -> None:
    """Add the cog and register the action."""
    await bot.add_cog(FavouritesCog(bot.service))
    bot.service.result_actions.add(
        ResultAction("star", toggle, N_("Favourite"), "⭐", N_("Keeps it in /favourites, or takes it off"), rank=60)
    )
