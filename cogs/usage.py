"""/usage: show what is left of today's allowance, and the limits here."""

from typing import TYPE_CHECKING, Final

import discord
from discord import app_commands
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say, translate
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.policy.context import Context
from cogs.core.policy.limits import Allowance
from cogs.core.storage.usage import next_reset
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

if TYPE_CHECKING:
    from bot import Darkroom


class UsageCog(commands.Cog):
    """Shows members how much they have used."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    async def usage(self, interaction: Interaction) -> None:
        """Show how many pictures you have made and have left today, and the limits here."""
        context = Context.of(interaction)
        made = sum((await self.service.quota_store.used_today(context.member_id)).values())
        allowances = await self.service.rules.allowances(context)
        text = usage_text(context, made, allowances, self.service.rules.denial(context))
        await interaction.response.send_message(text, ephemeral=True, allowed_mentions=NO_MENTIONS)


LEFT_HERE: Final = plural(
    "You can still make **{left}** of {most} picture here.", "You can still make **{left}** of {most} pictures here.", by="most"
)
LEFT_IN_ALL_SERVERS: Final = plural(
    "You can still make **{left}** of {most} picture across all servers.",
    "You can still make **{left}** of {most} pictures across all servers.",
    by="most",
)

LARGER_COUNT_MORE: Final = N_("Pictures that are large or have many steps count as several.")


def usage_text(context: Context, made: int, allowances: list[Allowance], denial: DarkroomError | None) -> str:
    """Return what is left of today's allowance, and the limits of one request."""
    language = context.language
    limits = context.limits
    template = plural("You have made {count} picture today.", "You have made {count} pictures today.")
    lines = [say(language, template, count=made)]
    for allowance in allowances:
        template = LEFT_HERE if allowance.is_of_server else LEFT_IN_ALL_SERVERS
        lines.append(say(language, template, left=allowance.left, most=allowance.most))
    if allowances:
        lines.append(say(language, LARGER_COUNT_MORE))
        lines.append(say(language, "The next day begins {when}.", when=discord.utils.format_dt(next_reset(), "R")))
    else:
        lines.append(say(language, "You may make as many as you like."))
    at_once = say(
        language,
        "At most per request: {pictures}, {steps}, as many pixels as {side}x{side}.",
        pictures=say(language, plural("{count} picture", "{count} pictures"), count=limits.count),
        steps=say(language, plural("{count} step", "{count} steps"), count=limits.steps),
        side=limits.side,
    )
    return "\n".join([*lines, f"-# {at_once}", *([translate(language, denial)] if denial else [])])


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(UsageCog(bot.service))
