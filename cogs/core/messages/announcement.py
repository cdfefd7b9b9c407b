"""The message that announced the pictures of a creation."""

import contextlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import discord

from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify, is_temporary
from cogs.core.messages.routes import ORIGINAL, has_expired, webhook_of
from cogs.core.messages.views import shows_result_of
from cogs.core.storage.creations import Creation
from cogs.core.tasks import retry

log = logging.getLogger(__name__)
ORIGINAL_RESPONSE_GRACE = timedelta(seconds=5)
CLOCK_DIFFERENCE = timedelta(minutes=5)  # the most between this machine and Discord


class MessageUnreadableError(Exception):
    """The bot cannot see whether a message exists: no permission, no token."""


class _NotYetSentError(Exception):
    """The first answer of an earlier run may still arrive at Discord."""


@dataclass(frozen=True)
class Announcement:
    """Reaches the message by its channel or by the interaction's token."""

    client: discord.Client
    creation: Creation

    @property
    def channel(self) -> discord.PartialMessageable:
        """The channel of the message."""
        return self.client.get_partial_messageable(self.creation.channel_id)

    @property
    def message(self) -> discord.PartialMessage:
        """The message as its channel knows it."""
        return self.channel.get_partial_message(self.creation.message_id or 0)

    async def withdraw(self, delete: bool) -> None:
        """Remove the buttons of the message, or ``delete`` it, as far as Discord lets."""
        creation = self.creation
        calls: list[Any] = []
        if creation.token and not has_expired(creation):
            webhook = webhook_of(self.client, creation)
            calls.append((webhook.delete_message, webhook.edit_message, (creation.message_id or ORIGINAL,)))
        if not creation.token_only:
            calls.append((self.message.delete, self.message.edit, ()))
        for remove, edit, where in calls:
            for call in [partial(remove, *where)] * delete + [partial(edit, *where, view=None)]:
                try:
                    await call()
                    return
                except DISCORD_ERRORS as error:
                    log.warning("the announcement of %r stays: %s", creation, error)

    async def find(self) -> discord.Message | None:
        """Find the message after a restart.

        Prefers a message that shows the result over the one that announced it. Returns None where there is none. Raises errors
        of Discord, and `MessageUnreadableError`.
        """
        return await retry(self._find_or_wait, lambda error: isinstance(error, _NotYetSentError) or is_temporary(error))

    async def _find_or_wait(self) -> discord.Message | None:
        message = None
        try:
            message = await self._find()
        except DISCORD_ERRORS as error:
            # Discord also calls a valid token unknown if its interaction was never answered.
            if classify(error) not in (ErrorKind.MESSAGE_GONE, ErrorKind.TOKEN_EXPIRED):
                raise
        if message is None and _may_still_arrive(self.creation):
            raise _NotYetSentError
        return message

    async def _find(self) -> discord.Message | None:
        creation = self.creation
        if not creation.token_only or creation.posting_in:
            with contextlib.suppress(discord.Forbidden):
                return await self._find_in_channel()
        if has_expired(creation):
            raise MessageUnreadableError("The interaction's token has expired.")
        return await webhook_of(self.client, creation).fetch_message(creation.message_id or ORIGINAL)

    async def _find_in_channel(self) -> discord.Message | None:
        creation = self.creation
        if creation.posting_in is not None:
            since = creation.changed - CLOCK_DIFFERENCE
            async for message in self.client.get_partial_messageable(creation.posting_in).history(after=since, limit=500):
                if shows_result_of(message, creation):
                    return message
        channel = self.channel
        if creation.message_id is not None:
            return await channel.fetch_message(creation.message_id)
        async for message in channel.history(after=discord.Object(creation.id), limit=100):
            if message.interaction_metadata and message.interaction_metadata.id == creation.id:
                return message
        return None


def _may_still_arrive(creation: Creation) -> bool:
    return creation.message_id is None and discord.utils.utcnow() - creation.created < ORIGINAL_RESPONSE_GRACE
