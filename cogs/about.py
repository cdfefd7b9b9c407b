"""/about: show what this bot can do, and with which model."""

from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.help_text import RunSummary, about_text, running_text
from cogs.core.i18n.catalogues import command_name, say
from cogs.core.policy.context import Context
from cogs.core.types import Interaction

if TYPE_CHECKING:
    from bot import Darkroom


class AboutCog(commands.Cog):
    """Shows what the bot can do."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    async def about(self, interaction: Interaction) -> None:
        """Show the model in use, prompts to try and all commands."""
        model = self.service.engine.model
        metrics = self.service.metrics
        shown_commands = interaction.client.tree.get_commands(type=discord.AppCommandType.chat_input)
        language = Context.of(interaction).language
        described = {
            f"/{command_name(language, command.name)}": say(language, command.description)
            for command in shown_commands
            if _is_shown(command, interaction)
        }
        run = RunSummary(str(model.device), str(model.dtype), metrics.began, metrics.pictures, metrics.seconds_per_picture)
        running = running_text(run, language)
        text = about_text(model.name, model.defaults, described, running, language)
        await interaction.response.send_message(text, ephemeral=True)


def _is_shown(command: Any, interaction: Interaction) -> bool:
    """Return whether Discord offers ``command`` to the member by default.

    A server can set other rules for it, which are not known here.
    """
    needed = command.default_permissions
    return needed is None or needed <= interaction.permissions


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(AboutCog(bot.service))
