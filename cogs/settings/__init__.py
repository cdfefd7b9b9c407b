"""Settings: what members, channels and servers prefer, and what a server allows."""

from typing import TYPE_CHECKING

from cogs.settings.cog import SettingsCog, SetupCog

if TYPE_CHECKING:
    from bot import Darkroom


async def setup(bot: "Darkroom") -> None:
    """Add the cogs."""
    await bot.add_cog(SettingsCog())
    await bot.add_cog(SetupCog(bot.service))
