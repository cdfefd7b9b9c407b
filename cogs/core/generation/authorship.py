"""Find out whose picture a message shows.

Discord names the place of the message that another one forwards, but not its author.
"""

import asyncio
import re
from typing import Final
from urllib.parse import urlsplit

import discord

from cogs.core.generation.source import forwarded_from, shown_creation
from cogs.core.messages.attachments import PostedFile
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify
from cogs.core.policy.context import Context
from cogs.core.policy.limits import NotAllowedError
from cogs.core.policy.origins import Origin
from diffusion.errors import DarkroomError
from diffusion.text import N_

MAX_FORWARDS: Final = 3  # of a forwarded message that was itself forwarded
FETCH_SECONDS: Final = 10.0
AVATAR_PATH: Final = re.compile(r"/(?:(?:avatars|banners)/([0-9]{1,19})/|users/([0-9]{1,19})/(?:avatars|banners)/)")
UNKNOWN_AUTHOR: Final = N_(
    "I cannot find out whose picture this is, because I cannot read the message that it was forwarded from. "
    "Please use the menu on that message, or attach the picture to `/similar` if it is yours."
)
NO_ANSWER: Final = N_("Discord did not say whose picture this is. Please try again.")


async def origin_of(context: Context, message: discord.Message) -> Origin:
    """Return the origin of a request that starts from a picture of ``message``.

    A forwarded picture belongs to the author of the original message, which the bot fetches. If it cannot, there are two cases.
    The original was posted where the bot is: its author may have forbidden remixes here, so this raises `NotAllowedError`. It
    comes from elsewhere, such as a server without the bot or a direct message: the last known forwarder counts as its author,
    as if they had saved and uploaded it. Raises `DarkroomError` if Discord does not answer.
    """
    for _ in range(MAX_FORWARDS):
        creation = await shown_creation(context, message)
        reference = forwarded_from(message)
        original = await _original(context, reference) if reference and not creation else None
        if original is None:
            return Origin.posted(creation, message.author.id)
        message = original
    raise NotAllowedError(UNKNOWN_AUTHOR)


def origin_of_avatar(file: PostedFile) -> Origin | None:
    """Return the origin of a linked avatar or profile banner, whoever posted the link; None for other files."""
    match = AVATAR_PATH.search(urlsplit(file.address).path)
    return Origin.posted(None, int(match[1] or match[2])) if match else None


async def _original(context: Context, reference: discord.MessageReference) -> discord.Message | None:
    """Return the message of ``reference``, or None if it comes from where the bot is not."""
    channel = context.interaction.client.get_partial_messageable(reference.channel_id, guild_id=reference.guild_id)
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            return await channel.fetch_message(reference.message_id or 0)
    except DISCORD_ERRORS as error:
        kind = classify(error)
        if kind is ErrorKind.TEMPORARY:
            raise DarkroomError(NO_ANSWER) from error
        if kind is ErrorKind.MESSAGE_GONE or _is_known_place(context, reference):
            raise NotAllowedError(UNKNOWN_AUTHOR) from error
        return None


def _is_known_place(context: Context, reference: discord.MessageReference) -> bool:
    """Return whether ``reference`` leads to this server or channel, or to another one where the bot is."""
    client = context.interaction.client
    if reference.channel_id == context.interaction.channel_id or client.get_channel(reference.channel_id):
        return True
    guild_id = reference.guild_id
    return guild_id is not None and (guild_id == context.guild_id or client.get_guild(guild_id) is not None)
