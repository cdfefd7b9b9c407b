"""Check each command, acknowledge each interaction in time, and reply to errors.

Discord expects a first answer within three seconds, and then waits for fifteen minutes. If the handler has not answered soon,
the member sees that the bot is thinking, and what is sent later takes the place of that.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import discord
from discord import app_commands

from cogs.core.messages.http_errors import DISCORD_ERRORS
from cogs.core.messages.replies import reply_error
from cogs.core.storage.database import waits_until
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)
ACKNOWLEDGE_SECONDS = 1.5
INTERACTION_SECONDS: Final = 840.0  # of the 900 s that a token lives
IS_PRIVATE: Final = "is_private"  # the key in `Interaction.extras` of whether the member alone will see the answer
SUGGESTION_SECONDS = 2.0  # there is nothing to wait for once the member types on


def begin_deadline(interaction: Interaction, *, edits_message: bool = False, is_public: bool = False) -> None:
    """Acknowledge ``interaction`` soon, unless its handler does, and let the handler wait for the database.

    Call it first, in the task of the handler. A handler that ``edits_message`` changes the message with the pressed component.
    The answer of others ``is_public`` in general. After a public acknowledgement a private answer is possible, but not the
    other way round.
    """
    if interaction.type is discord.InteractionType.autocomplete:
        return
    waits_until.set(asyncio.get_running_loop().time() + INTERACTION_SECONDS)
    internals: Any = interaction
    internals._cs_response = PatientResponse(interaction, edits_message, is_public)  # what `Interaction.response` returns


@dataclass(frozen=True)
class LateMessage:
    """The message that was sent after an acknowledgement."""

    message_id: int


class PatientResponse(discord.InteractionResponse[Any]):
    """A response that acknowledges the interaction by itself if nobody does."""

    def __init__(self, parent: Interaction, edits_message: bool, is_public: bool) -> None:
        super().__init__(parent)
        self.is_private = not is_public
        self._interaction = parent
        self._edits_message = edits_message
        self._is_late = False
        self._lock = asyncio.Lock()  # lets no acknowledgement come between the parts of an answer
        self._acknowledging: asyncio.Task[None] | None = None
        # Only the timer is in a context of its own: a simulated Discord stops the clock of the handler's.
        self._context = contextvars.copy_context()
        call_later = asyncio.get_running_loop().call_later
        self._timer = contextvars.Context().run(call_later, ACKNOWLEDGE_SECONDS, self._start)

    def _start(self) -> None:
        if not self.is_done():
            self._acknowledging = self._context.run(asyncio.create_task, self._acknowledge())

    async def _acknowledge(self) -> None:
        async with self._lock:
            if self.is_done():
                return
            self.is_private = self._interaction.extras.get(IS_PRIVATE, self.is_private)
            try:
                if self._edits_message:
                    await super().defer()
                else:
                    await super().defer(ephemeral=self.is_private, thinking=True)
            except DISCORD_ERRORS as error:  # the handler's own answer is still to come
                log.warning("an interaction could not be acknowledged: %s", type(error).__name__)
                return
            self._is_late = True

    async def defer(self, *, ephemeral: bool = False, thinking: bool = False) -> Any:
        """Acknowledge the interaction, unless that has happened."""
        async with self._lock:
            self._timer.cancel()
            if not self._is_late:
                return await super().defer(ephemeral=ephemeral, thinking=thinking)
            await self._change_visibility(ephemeral)
            return None

    async def send_message(self, content: Any = None, **options: Any) -> Any:
        """Send a message in place of an acknowledgement."""
        async with self._lock:
            self._timer.cancel()
            if not self._is_late:
                return await super().send_message(content, **options)
            await self._change_visibility(options.get("ephemeral", False))
            given = options if content is None else options | {"content": content}
            return LateMessage((await self._interaction.followup.send(wait=True, **given)).id)

    async def edit_message(self, **options: Any) -> Any:
        """Edit the message with the pressed component."""
        async with self._lock:
            self._timer.cancel()
            if not self._is_late:
                return await super().edit_message(**options)
            if self._edits_message:
                return await self._interaction.edit_original_response(**options)
            await self._change_visibility(not self.is_private)
            message = self._interaction.message
            return await self._interaction.followup.edit_message(message.id if message else 0, **options)

    async def send_modal(self, modal: discord.ui.Modal, /) -> Any:
        """Open a form; raises `DarkroomError` after an acknowledgement, when Discord accepts none."""
        async with self._lock:
            self._timer.cancel()
            if self._is_late:
                raise DarkroomError("I could not look up these pictures in time. Please try again.")
            return await super().send_modal(modal)

    async def _change_visibility(self, private: bool) -> None:
        """Remove the acknowledgement if what follows is for others than it said."""
        if private != self.is_private and not self._edits_message:
            with contextlib.suppress(discord.NotFound):
                await self._interaction.delete_original_response()
            self.is_private = private


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

    _command_ids: Mapping[str, int] = {}

    async def sync(self, *, guild: Any = None) -> list[app_commands.AppCommand]:
        """Register the commands with Discord, and remember their ids."""
        return self._remember(await super().sync(guild=guild))

    async def fetch_commands(self, *, guild: Any = None) -> list[app_commands.AppCommand]:
        """Ask Discord for the commands, and remember their ids."""
        return self._remember(await super().fetch_commands(guild=guild))

    def _remember(self, commands: list[app_commands.AppCommand]) -> list[app_commands.AppCommand]:
        self._command_ids = {command.name: command.id for command in commands}
        return commands

    def mention(self, name: str) -> str:
        """Return the command ``name``, such as "settings mine", as members can click it; as text until its id is known."""
        command_id = self._command_ids.get(name.partition(" ")[0])
        return f"</{name}:{command_id}>" if command_id else f"`/{name}`"

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
