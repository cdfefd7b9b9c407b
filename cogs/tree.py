"""The commands as Discord hands them over: what no cog can take, such as options forged past Discord's checks, ends here."""

import logging
from typing import Any

import discord
from discord import app_commands

log = logging.getLogger(__name__)
FORGED = (app_commands.TransformerError, app_commands.CommandSignatureMismatch, app_commands.CommandNotFound)


class Tree(app_commands.CommandTree[Any]):
    """Tells members in one sentence what went wrong before or outside the cogs."""

    async def on_error(self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError) -> None:
        """Answer for a command that could not be called."""
        if isinstance(error, FORGED):
            log.warning("a command could not be called: %s", error)
            sentence = "I cannot take this command as it came. Please type it again."
        else:
            log.error("a command failed", exc_info=error)
            sentence = "Something went wrong here. Please try again."
        await interaction.client.studio.tell(interaction, sentence)
