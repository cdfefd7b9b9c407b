"""Delete the messages of forgotten members from Discord, also after a restart."""

import asyncio
import logging

import discord

from cogs.core.messages.http_errors import DISCORD_ERRORS, is_temporary
from cogs.core.storage.erasure import Erasure

log = logging.getLogger(__name__)


class MessageEraser:
    """Works off the messages that are written down.

    What Discord cannot delete at present stays written down for the next call.
    """

    def __init__(self, client: discord.Client, erasure: Erasure) -> None:
        self._client = client
        self._erasure = erasure
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Delete the messages; raises `DatabaseUnavailableError`."""
        async with self._lock:
            for channel_id, message_id in await self._erasure.messages():
                try:
                    await self._client.get_partial_messageable(channel_id).get_partial_message(message_id).delete()
                except DISCORD_ERRORS as error:
                    if is_temporary(error):
                        log.warning("a message cannot be deleted yet: %s", type(error).__name__)
                        continue  # otherwise there is no permission, or the message is gone
                await self._erasure.mark_deleted(message_id)
