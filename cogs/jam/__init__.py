"""Prompt jams: members write prompts on a theme, all are drawn together, and everyone votes."""

from typing import TYPE_CHECKING

from cogs.jam.cog import JamCog

if TYPE_CHECKING:
    from bot import Darkroom


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(JamCog(bot))
