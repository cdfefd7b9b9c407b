"""Settings: what members, channels and servers prefer, and what a server allows."""

from typing import TYPE_CHECKING

from cogs.settings.cog import SettingsCog

if TYPE_CHECKING:
    from bot import Darkroom


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(SettingsCog(bot.service))
