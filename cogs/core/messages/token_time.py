"""The time in which an interaction's token can answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.storage.creations import Creation
from diffusion.errors import DarkroomError
from diffusion.text import plural

TOKEN_LIFE_MINUTES = 15
TOKEN_MINUTES = 14  # for drawing, and for edits where the channel would do as well; the rest is for delivery
TOKEN_MARGIN = timedelta(seconds=10)


def has_expired(creation: Creation) -> bool:
    """Return whether the token of ``creation`` is too old to use."""
    return discord.utils.utcnow() >= creation.expires - TOKEN_MARGIN


def is_early(creation: Creation) -> bool:
    """Return whether the token of ``creation`` lives for more than its last minute."""
    return discord.utils.utcnow() < _end_of_drawing(creation)


def token_note(language: str = ENGLISH) -> str:
    """Return the note under an answer that only the interaction's token can edit."""
    template = plural(
        "Here I can answer for {count} minute only; what takes longer is dropped.",
        "Here I can answer for {count} minutes only; what takes longer is dropped.",
    )
    return f"-# {say(language, template, count=TOKEN_MINUTES)}"


@contextlib.asynccontextmanager
async def while_token_lives(creation: Creation) -> AsyncIterator[None]:
    """Limit the block to the life of the token if no other route exists.

    Raises `DarkroomError` when the time is over.
    """
    if not creation.token_only:
        yield
        return
    try:
        async with asyncio.timeout((_end_of_drawing(creation) - discord.utils.utcnow()).total_seconds()):
            yield
    except TimeoutError:
        raise DarkroomError(
            plural(
                "This took longer than the {count} minute in which I can answer here. Please ask for less.",
                "This took longer than the {count} minutes in which I can answer here. Please ask for less.",
            ),
            count=TOKEN_MINUTES,
        ) from None


def _end_of_drawing(creation: Creation) -> datetime:
    return creation.expires - timedelta(minutes=TOKEN_LIFE_MINUTES - TOKEN_MINUTES)
