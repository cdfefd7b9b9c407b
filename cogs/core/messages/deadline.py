"""How long an answer may take that nothing but the token of its interaction reaches."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.storage.creations import Creation
from diffusion.errors import DarkroomError
from diffusion.text import plural

TOKEN_MINUTES = 14  # of the 15 that an interaction's token lives


def token_note(language: str = ENGLISH) -> str:
    """Tell that the answer has to come soon."""
    template = plural(
        "Here I can answer for {count} minute only; what takes longer is dropped.",
        "Here I can answer for {count} minutes only; what takes longer is dropped.",
    )
    note = say(language, template, count=TOKEN_MINUTES)
    return f"-# {note}"


@contextlib.asynccontextmanager
async def while_token_lives(creation: Creation) -> AsyncIterator[None]:
    """Bound the wait where only the interaction's token reaches the message; raises `DarkroomError` when it is over."""
    if not creation.token_only:
        yield
        return
    over = creation.expires - timedelta(minutes=15 - TOKEN_MINUTES)
    try:
        async with asyncio.timeout((over - discord.utils.utcnow()).total_seconds()):
            yield
    except TimeoutError:
        raise DarkroomError(
            plural(
                "This took longer than the {count} minute in which I can answer here. Please ask for less.",
                "This took longer than the {count} minutes in which I can answer here. Please ask for less.",
            ),
            count=TOKEN_MINUTES,
        ) from None
