"""/usage: what is left of today, and what is possible here."""

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from cogs.delivery import QUIET
from cogs.ledger import renewal
from cogs.rules import Allowance
from cogs.studio import Studio
from diffusion.errors import DarkroomError
from diffusion.request import Limits


class Usage(commands.Cog):
    """Tells members what they have used."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    @app_commands.command()
    async def usage(self, interaction: discord.Interaction[Any]) -> None:
        """Tell how many pictures you have made today, how many are left and what is possible here."""
        async with self.studio.answering(interaction):
            rules = self.studio.rules
            made = sum((await self.studio.ledger.today(interaction.user.id)).values())
            allowances = await rules.allowances(interaction)
            text = usage_text(made, allowances, rules.limits(interaction), rules.obstacle(interaction))
            await interaction.response.send_message(text, ephemeral=True, allowed_mentions=QUIET)


def usage_text(made: int, allowances: list[Allowance], limits: Limits, obstacle: DarkroomError | None) -> str:
    """Word what is left of today and what one request may ask for."""
    lines = [f"You have made {made} picture{'s' * (made != 1)} today."]
    for allowance in allowances:
        where = "here" if allowance.here else "over all servers"
        lines.append(f"**{allowance.left}** of {allowance.most} are left {where}.")
    next_day = f"The next day begins {discord.utils.format_dt(renewal(), 'R')}."
    lines.append(next_day if allowances else "You may make as many as you like.")
    lines.append(f"-# At once: {limits.count} pictures, {limits.steps} steps, {limits.side} pixels a side.")
    return "\n".join([*lines, *([str(obstacle)] if obstacle else [])])


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(Usage(bot.studio))
