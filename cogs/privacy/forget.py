"""Forget a member: cancel their jobs, delete their data and their messages."""

import asyncio
import contextlib
from typing import Any, Final

import discord

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.components import PersistentButton
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.policy.context import Context
from cogs.core.storage.erasure import Erased
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

CANCEL_TIMEOUT_SECONDS: Final = 5.0
CANCEL_POLL_SECONDS: Final = 0.05
KEPT: Final = plural(
    "{count} picture stays, because other members use it as well.",
    "{count} pictures stay, because other members use them as well.",
)
DELETING: Final = plural(
    "I am deleting your pictures from {count} message.", "I am deleting your pictures from {count} messages."
)
OLDER: Final = plural(
    "{count} older message stays. You can delete it with its Delete button.",
    "{count} older messages stay. You can delete them with their Delete buttons.",
)
NOT_YET: Final = N_("I cannot reach my pictures at the moment. I delete yours as soon as I can.")


class ForgetButton(PersistentButton, name="forget"):
    """Confirms that a member wants to be forgotten."""

    member: int

    def __init__(self, member: int, language: str = ENGLISH) -> None:
        button: discord.ui.Button[Any] = discord.ui.Button(label=say(language, "Forget me"), style=discord.ButtonStyle.danger)
        super().__init__(button, member=member)

    async def run(self, interaction: Interaction) -> None:
        """Forget the member and report what was deleted.

        Raises `DarkroomError` for anybody else.
        """
        if interaction.user.id != self.member:
            raise DarkroomError("You can only delete your own data: `/privacy forget`.")
        service = interaction.client.service
        language = Context.of(interaction).language  # it may be one of the settings that are deleted
        await interaction.response.edit_message(content=say(language, "Deleting…"), view=None)
        await service.personal_data.note_deletion(self.member, interaction.id)
        for forget in service.forgetters:
            forget(self.member)
        await _cancel_jobs(service, self.member)
        erased = await service.personal_data.delete(self.member, interaction.id)
        service.background.start(service.message_eraser.run())
        text = _summary_text(erased, language)
        await interaction.edit_original_response(content=text, allowed_mentions=NO_MENTIONS)


async def _cancel_jobs(service: GenerationService, member: int) -> None:
    """Cancel all jobs of ``member`` and wait until they have ended.

    The wait lasts at most `CANCEL_TIMEOUT_SECONDS`.
    """
    held_by_others = await service.claims.held_by_others(member)
    for creation_id in held_by_others:
        await service.cancel_elsewhere(creation_id)
    if held_by_others:
        await asyncio.sleep(2 * service.lease.renew_interval)  # until the other processes notice and store nothing more
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CANCEL_TIMEOUT_SECONDS):
            while running := [creation.id for creation in service.runner.active if creation.owner == member]:
                for creation_id in running:
                    service.jobs[creation_id].cancel()
                await asyncio.sleep(CANCEL_POLL_SECONDS)


def _summary_text(erased: Erased, language: str) -> str:
    requests = say(language, plural("{count} request", "{count} requests"), count=erased.creations)
    pictures = say(language, plural("{count} picture", "{count} pictures"), count=len(erased.pictures) - erased.kept)
    lines = [say(language, "Deleted: {requests}, {pictures} and your settings.", requests=requests, pictures=pictures)]
    if not erased.is_complete:
        lines.append(say(language, NOT_YET))
    if erased.kept:
        lines.append(say(language, KEPT, count=erased.kept))
    if erased.messages:
        lines.append(say(language, DELETING, count=erased.messages))
    if erased.older_messages:
        lines.append(say(language, OLDER, count=erased.older_messages))
    lines.append(say(language, "I keep only today's picture count, until tomorrow."))
    return "\n".join(lines)
