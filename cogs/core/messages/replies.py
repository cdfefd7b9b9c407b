"""What a member is told besides pictures: one sentence, seen by them alone."""

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import discord

from cogs.core.i18n.catalogues import explain
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.messages.http_errors import NETWORK_ERRORS
from cogs.core.policy.locale import language_of
from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)
Interaction = discord.Interaction[Any]
# Among the extras of an interaction: what to tell its member besides the answer, what they can press where it is refused.
NOTE, REMEDY = "note", "remedy"
# An answer in the open, or the promise of one: what is said instead of it would be seen by all, too.
BEGUN = (discord.InteractionResponseType.channel_message, discord.InteractionResponseType.deferred_channel_message)


@contextlib.asynccontextmanager
async def answering(interaction: Interaction) -> AsyncIterator[None]:
    """Turn what goes wrong inside into one sentence for the member."""
    try:
        yield
    except Exception as error:
        await tell(interaction, explained(error))


async def tell(interaction: Interaction, error: DarkroomError) -> None:
    """Say to the member what went wrong, in their language; an answer begun in the open is taken back first."""
    sentence = explain(language_of(interaction), error)
    options: dict[str, Any] = {"ephemeral": True, "allowed_mentions": NO_MENTIONS}
    if remedy := interaction.extras.get(REMEDY):
        options["view"] = remedy
    try:
        if not interaction.response.is_done():
            await interaction.response.send_message(sentence, **options)
            return
        if interaction.response.type in BEGUN:
            with contextlib.suppress(discord.NotFound):
                await interaction.delete_original_response()
        await interaction.followup.send(sentence, **options)
    except (discord.HTTPException, *NETWORK_ERRORS) as refusal:
        log.warning("a member could not be told %r: %s", str(error), refusal)


async def tell_note(interaction: Interaction) -> None:
    """Say what was noted for the member while their request was composed, if anything; the answer stays."""
    if sentence := interaction.extras.pop(NOTE, None):
        try:
            await interaction.followup.send(sentence, ephemeral=True, allowed_mentions=NO_MENTIONS)
        except (discord.HTTPException, *NETWORK_ERRORS) as error:
            log.warning("a note did not reach its member: %s", error)


def explained(error: Exception) -> DarkroomError:
    """Give what a member is told of ``error``; what they cannot help is logged."""
    if isinstance(error, DarkroomError):
        return error
    if isinstance(error, discord.HTTPException):
        log.warning("Discord refused an answer: %s", error)
        return DarkroomError("Discord did not take my answer. Please try again.")
    log.error("an interaction failed", exc_info=error)
    return DarkroomError("Something went wrong here. Please try again.")
