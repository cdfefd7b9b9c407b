"""The command tree: option checks on the server, and replies to all errors."""

import logging
from typing import Any

import discord
from discord import app_commands

from cogs.core.messages.deadline import begin_deadline
from cogs.core.messages.replies import reply_error
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)


class InvalidOptionError(app_commands.AppCommandError):
    """An option has a value that the command does not accept.

    The value has the wrong type, is none of the choices or is out of range.
    """


MALFORMED = (
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


class CommandTree(app_commands.CommandTree[Any]):
    """Checks the options of commands and replies to the errors of all commands.

    Discord's clients check options as well, but anybody can send anything.
    """

    async def interaction_check(self, interaction: Interaction, /) -> bool:
        """Check the options of a command; raises `InvalidOptionError`."""
        begin_deadline(interaction)
        command = interaction.command
        if isinstance(command, app_commands.Command) and interaction.type is discord.InteractionType.application_command:
            for parameter in command.parameters:
                value = getattr(interaction.namespace, parameter.display_name)
                if value is not None and not _accepts(parameter, value):
                    raise InvalidOptionError(f"{value!r:.100} is not a value of {parameter.display_name}")
        return True

    async def on_error(self, interaction: Interaction, error: app_commands.AppCommandError) -> None:
        """Reply with what went wrong, in one sentence that only the member sees."""
        if isinstance(error, MALFORMED):
            log.warning("a malformed command: %s", error)
            await reply_error(interaction, DarkroomError("I cannot read this command. Please type it again."))
        else:
            await reply_error(interaction, error)


def _accepts(parameter: app_commands.Parameter, value: Any) -> bool:
    if type(value) not in TYPES.get(parameter.type, (type(value),)):
        return False
    if parameter.choices:
        return value in [choice.value for choice in parameter.choices]
    size = len(value) if isinstance(value, str) else value
    return parameter.max_value is None or (parameter.min_value or 0) <= size <= parameter.max_value
