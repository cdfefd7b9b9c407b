"""Stars: members give them to finished pictures, and the starboard of a server shows what has many.

The starboard is a channel that managers of the server choose.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Final

import discord

from cogs.core.generation.runner import JobRunner
from cogs.core.i18n.catalogues import ENGLISH, LANGUAGE_BY_LOCALE, say
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify
from cogs.core.messages.message import NO_MENTIONS, Answer
from cogs.core.messages.render import message_link
from cogs.core.messages.uploads import shrink
from cogs.core.request.preferences import Scope
from cogs.core.storage.creations import Creation
from cogs.core.storage.message_index import MessageIndex
from cogs.core.storage.stores import Stores
from cogs.core.tasks import Background
from diffusion.errors import DarkroomError
from diffusion.text import plural

log = logging.getLogger(__name__)
DEFAULT_THRESHOLD: Final = 3
STARS: Final = plural("{count} star", "{count} stars")


class Starboard:
    """Gives stars and takes them back; shows pictures that reach the threshold of their server."""

    def __init__(
        self, client: discord.Client, stores: Stores, *, runner: JobRunner, background: Background, index: MessageIndex
    ) -> None:
        self._client = client
        self._stores = stores
        self._runner = runner
        self._background = background
        self._message_index = index
        self._lock = asyncio.Lock()  # shows nothing twice: the stars of a server all come to one process

    async def give(self, member: int, creation: Creation) -> bool:
        """Let ``member`` give a star; return False if they have given it already.

        Raises `DarkroomError` if they have too many, or if the creation is gone.
        """
        is_new = await self._stores.star_store.add(member, creation)
        if is_new and self._channel_id(creation):
            self._background.start(self._show(creation))
        return is_new

    async def take_back(self, member: int, creation_id: int) -> bool:
        """Take the star of ``member`` back; return False if there is none."""
        return await self._stores.star_store.remove(member, creation_id)

    def _channel_id(self, creation: Creation) -> int | None:
        return self._stores.preference_store.get(Scope.SERVER, creation.guild_id or 0).starboard

    async def _show(self, creation: Creation) -> None:
        """Show ``creation`` if it has enough stars now, and if everyone in its server may see it."""
        async with self._lock:
            settings = self._stores.preference_store.get(Scope.SERVER, creation.guild_id or 0)
            starred = await self._stores.star_store.get(creation.id)
            fresh = await self._stores.creation_store.get(creation.id)
            if starred is None or starred.board_message_id is not None or fresh is None:
                return
            if starred.stars < (settings.star_threshold or DEFAULT_THRESHOLD):
                return
            guild = self._client.get_guild(fresh.guild_id or 0)
            board = guild.get_channel(settings.starboard or 0) if guild else None
            if not isinstance(board, discord.TextChannel) or not is_for_everyone(fresh, board):
                return
            try:
                message = await self._send(fresh, board, starred.stars)
            except (*DISCORD_ERRORS, DarkroomError) as error:  # pictures may be gone
                log.warning("%r does not appear on the starboard %d: %s", fresh, board.id, error)
                return
            self._message_index.add(message.id)
            await self._stores.star_store.set_board_message(fresh.id, board.id, message.id)

    async def _send(self, creation: Creation, board: discord.TextChannel, stars: int) -> discord.Message:
        chosen = self._stores.preference_store.get(Scope.SERVER, board.guild.id).language
        language = chosen or LANGUAGE_BY_LOCALE.get(board.guild.preferred_locale, ENGLISH)
        result = await self._runner.result(creation, await self._runner.request_of(creation), language)
        link = message_link(creation.guild_id, creation.channel_id, creation.message_id)
        by = say(language, "by {member}", member=f"<@{creation.owner}>")
        line = f"⭐ {say(language, STARS, count=stars)} · {by} · [{say(language, 'message')}]({link})"
        answer: Answer = replace(result, text=f"{line}\n{result.text}", footer=f"-# id `{creation.short_id}`", rows=tuple)
        limit = board.guild.filesize_limit
        if not answer.fits(limit):
            answer = await shrink(answer, limit)
        while True:
            try:
                # Discord drops a second message with the same nonce, as after a crash.
                return await board.send(**answer.send(), nonce=f"s{creation.id}", allowed_mentions=NO_MENTIONS)
            except discord.HTTPException as error:
                if classify(error) is not ErrorKind.TOO_LARGE:
                    raise
                answer = await shrink(answer, limit)


def is_for_everyone(creation: Creation, board: discord.TextChannel) -> bool:
    """Return whether the starboard may show ``creation``.

    Private, deleted and flagged pictures stay where they are, and so do those of channels that not everyone in the server can
    read, and those of age-restricted channels on a board that is not age-restricted.
    """
    if creation.private or creation.message_id is None or creation.flags:
        return False
    if creation.age_restricted and not board.is_nsfw():
        return False
    channel = board.guild.get_channel_or_thread(creation.channel_id)
    if channel is None or (isinstance(channel, discord.Thread) and channel.is_private()):
        return False
    try:
        everyone = channel.permissions_for(board.guild.default_role)
    except discord.ClientException:  # a thread whose channel the bot does not see
        return False
    return everyone.view_channel and everyone.read_message_history
