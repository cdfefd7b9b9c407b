"""The commands as Discord hands them over: what no cog can take, such as options forged past Discord's checks, ends here."""

import logging
from typing import Any

import discord
from discord import app_commands

from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)


class InvalidOptionError(app_commands.AppCommandError):
    """An option has a value of another type, one that is none of its choices, or one beyond what it takes."""


FORGED = (
    InvalidOptionError,
    app_commands.TransformerError,
    app_commands.CommandSignatureMismatch,
    app_commands.CommandNotFound,
)
TYPES = {
    discord.AppCommandOptionType.string: (str,),
    discord.AppCommandOptionType.integer: (int,),
    discord.AppCommandOptionType.number: (int, float),
    discord.AppCommandOptionType.boolean: (bool,),
}


class Tree(app_commands.CommandTree[Any]):
    """Tells members in one sentence what went wrong before or outside the cogs."""

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Check what discord.py leaves to Discord's clients; raises `InvalidOptionError`."""
        command = interaction.command
        if isinstance(command, app_commands.Command) and interaction.type is discord.InteractionType.application_command:
            for parameter in command.parameters:
                value = getattr(interaction.namespace, parameter.display_name)
                if value is not None and not _is_of(parameter, value):
                    raise InvalidOptionError(f"{value!r:.100} is no value for {parameter.display_name}")
        return True

    async def on_error(self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError) -> None:
        """Answer for a command that could not be called."""
        if isinstance(error, FORGED):
            log.warning("a command could not be called: %s", error)
            explained = DarkroomError("I cannot take this command as it came. Please type it again.")
        else:
            log.error("a command failed", exc_info=error)
            explained = DarkroomError("Something went wrong here. Please try again.")
        await interaction.client.service.tell(interaction, explained)


def _is_of(parameter: app_commands.Parameter, value: Any) -> bool:
    if type(value) not in TYPES.get(parameter.type, (type(value),)):
        return False
    if parameter.choices:
        return value in [choice.value for choice in parameter.choices]
    measured = len(value) if isinstance(value, str) else value
    return parameter.max_value is None or (parameter.min_value or 0) <= measured <= parameter.max_value
