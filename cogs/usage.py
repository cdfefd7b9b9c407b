"""/usage: what is left of today, and what is possible here."""

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say, translate
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.policy.limits import Allowance
from cogs.core.policy.locale import language_of
from cogs.core.storage.quotas import renewal
from diffusion.errors import DarkroomError
from diffusion.request import Limits


class UsageCog(commands.Cog):
    """Tells members what they have used."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    async def usage(self, interaction: discord.Interaction[Any]) -> None:
        """Tell how many pictures you have made today, how many are left and what is possible here."""
        async with self.service.answering(interaction):
            rules = self.service.rules
            made = sum((await self.service.quota_store.today(interaction.user.id)).values())
            allowances = await rules.allowances(interaction)
            limits, obstacle = rules.limits(interaction), rules.obstacle(interaction)
            text = usage_text(made, allowances, limits, obstacle, language_of(interaction))
            await interaction.response.send_message(text, ephemeral=True, allowed_mentions=NO_MENTIONS)


def usage_text(made: int, allowances: list[Allowance], limits: Limits, obstacle: DarkroomError | None, language: str) -> str:
    """Word what is left of today and what one request may ask for."""
    if made == 1:
        lines = [say(language, "You have made 1 picture today.")]
    else:
        lines = [say(language, "You have made {made} pictures today.", made=made)]
    for allowance in allowances:
        left, most = f"**{allowance.left}**", allowance.most
        if allowance.here:
            lines.append(say(language, "{left} of {most} are left here.", left=left, most=most))
        else:
            lines.append(say(language, "{left} of {most} are left over all servers.", left=left, most=most))
    if allowances:
        lines.append(say(language, "The next day begins {when}.", when=discord.utils.format_dt(renewal(), "R")))
    else:
        lines.append(say(language, "You may make as many as you like."))
    at_once = say(
        language,
        "At once: {count} pictures, {steps} steps, {side} pixels a side.",
        count=limits.count,
        steps=limits.steps,
        side=limits.side,
    )
    return "\n".join([*lines, f"-# {at_once}", *([translate(language, obstacle)] if obstacle else [])])


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(UsageCog(bot.service))
