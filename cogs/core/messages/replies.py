"""Short private replies: an error in one sentence, or a note."""

import contextlib
import logging
from collections.abc import Iterable
from typing import Any, Final

import discord
from discord import app_commands

from cogs.core.i18n.catalogues import translate
from cogs.core.messages.http_errors import NETWORK_ERRORS, ErrorKind, classify
from cogs.core.messages.message import MESSAGE_LIMIT, NO_MENTIONS, fit_text
from cogs.core.messages.uploads import TOO_LARGE
from cogs.core.policy.context import Context
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_, Text

log = logging.getLogger(__name__)
# Keys of `Interaction.extras`
ERROR_VIEW = "error_view"  # a view that an error reply shows
CONTINUED_BY = "continued_by"  # the later interaction to reply to
# An error that is edited into one of these responses would be visible to everyone.
PUBLIC_RESPONSES: Final = (
    discord.InteractionResponseType.channel_message,
    discord.InteractionResponseType.deferred_channel_message,
)
NOT_ACCEPTED: Final = N_("Discord did not accept my answer. Please try again.")
BLOCKED: Final = N_(
    "The message filter of this server or of Discord blocked the answer, so nothing is shown. Please try other words."
)
REFUSED: Final = {ErrorKind.BLOCKED: BLOCKED, ErrorKind.TOO_LARGE: TOO_LARGE}


async def reply_error(interaction: Interaction, error: Exception) -> None:
    """Reply with ``error`` in the member's language.

    Deletes a public response that was already begun, because only the member may see the error.
    """
    user_error = as_user_error(error)
    views = (make(interaction, user_error) for make in interaction.client.service.error_views)
    view = interaction.extras.get(ERROR_VIEW) or next(filter(None, views), None)
    interaction = interaction.extras.get(CONTINUED_BY, interaction)
    view = interaction.extras.get(ERROR_VIEW) or view
    sentence = fit_text(translate(Context.of(interaction).language, user_error), MESSAGE_LIMIT)
    options: dict[str, Any] = {"ephemeral": True, "allowed_mentions": NO_MENTIONS}
    if view:
        options["view"] = view
    try:
        if not interaction.response.is_done():
            await interaction.response.send_message(sentence, **options)
            return
        if interaction.response.type in PUBLIC_RESPONSES:
            with contextlib.suppress(discord.NotFound):
                await interaction.delete_original_response()
        await interaction.followup.send(sentence, **options)
    except (discord.HTTPException, *NETWORK_ERRORS) as failure:
        log.warning("an error reply did not reach its member (%r): %s", str(user_error), failure)


async def send_notes(context: Context, notes: Iterable[Text]) -> None:
    """Send the member notes on their prompt, each once."""
    text = "\n".join(dict.fromkeys(translate(context.language, note) for note in notes))
    note = fit_text(text, MESSAGE_LIMIT)
    try:
        await context.interaction.followup.send(note, ephemeral=True, allowed_mentions=NO_MENTIONS)
    except (discord.HTTPException, *NETWORK_ERRORS) as error:
        log.warning("a note did not reach its member: %s", error)


def as_user_error(error: Exception) -> DarkroomError:
    """Return ``error`` as the member reads it.

    Logs errors that the member did not cause.
    """
    if isinstance(error, app_commands.CommandInvokeError):
        error = error.original
    if isinstance(error, DarkroomError):
        return error
    if isinstance(error, discord.HTTPException):
        log.warning("Discord rejected an answer: %s", error)
        return DarkroomError(REFUSED.get(classify(error), NOT_ACCEPTED))
    log.error("an interaction failed", exc_info=error)
    return DarkroomError("Something went wrong here. Please try again.")
