"""Make files fit into what Discord takes of one file and of one request."""

import asyncio
from typing import Final

import discord

from cogs.core.messages.http_errors import ErrorKind, classify
from cogs.core.messages.message import NO_MENTIONS, Answer
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_

TOO_LARGE: Final = N_("The pictures are larger than Discord takes here. Please ask for fewer or smaller ones.")


async def send_followup(interaction: Interaction, answer: Answer, *, ephemeral: bool) -> None:
    """Send ``answer`` after a deferred response.

    Its files become smaller each time that Discord calls them too large. Raises `DarkroomError` where no size is small enough.
    """
    limit = interaction.filesize_limit
    if not answer.fits(limit):
        answer = await shrink(answer, limit)
    while True:
        try:
            await interaction.followup.send(**answer.send(), ephemeral=ephemeral, allowed_mentions=NO_MENTIONS)
            return
        except discord.HTTPException as error:
            if classify(error) is not ErrorKind.TOO_LARGE:
                raise
            answer = await shrink(answer, limit)


async def shrink(answer: Answer, limit: int) -> Answer:
    """Return ``answer`` with smaller files, which fit ``limit`` as `Answer.fits` explains.

    Raises `DarkroomError` where that is impossible.
    """
    smaller = await asyncio.to_thread(answer.smaller, limit)
    if smaller is None:
        raise DarkroomError(TOO_LARGE)
    return smaller
