"""How an answer reaches its member, whatever stands in the way: all that is known about Discord's refusals stands here.

An answer is edited into the message that was promised, by the bot where it sees the channel and by the interaction's token
elsewhere. `FALLBACKS` tells which way comes next when one is refused.
"""

import asyncio
import contextlib
import logging
import math
import time
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

import discord

from cogs.core.i18n.catalogues import say
from cogs.core.messages.attachments import posted_files
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify, is_temporary
from cogs.core.messages.message import Answer
from cogs.core.retry import retry
from cogs.core.storage.creations import Creation, CreationStore
from diffusion.errors import DarkroomError
from diffusion.text import N_

log = logging.getLogger(__name__)
NO_MENTIONS: Final = discord.AllowedMentions.none()
PROGRESS_SECONDS = 5.0  # a progress edit that takes longer is rate-limited and gives way
ORIGINAL_RESPONSE_GRACE = timedelta(seconds=5)
DELIVERY_GIVE_UP_AFTER = timedelta(days=1)
TOKEN_MARGIN = timedelta(seconds=10)
TOO_LARGE = N_("The pictures are larger than Discord takes here. Please ask for fewer or smaller ones.")
NOT_TAKEN = N_("Discord did not take the pictures. Please try again.")
CHANNEL_GONE = "The channel is gone."


class _Original:
    """Stands for the id of the message that answers an interaction; as a str, discord.py would percent-encode the @."""

    def __str__(self) -> str:
        return "@original"


ORIGINAL: Final[Any] = _Original()


class UndeliverableError(Exception):
    """No way led to the member; the text says why, for the journal."""


class MessageUnreadableError(Exception):
    """Nothing lets the bot see whether a message is there."""


class _NotYetSentError(Exception):
    """Discord may still carry out the first answer of a bot that has ended since."""


class Route(Enum):
    """Where an answer goes."""

    EDIT = auto()
    EDIT_BY_TOKEN = auto()
    NEW = auto()
    NEW_BY_TOKEN = auto()
    DIRECT = auto()


FALLBACKS: Final = {
    (Route.EDIT, ErrorKind.MESSAGE_GONE): Route.NEW,
    (Route.EDIT, ErrorKind.MESSAGE_TOO_OLD): Route.NEW,
    (Route.EDIT, ErrorKind.FORBIDDEN): Route.EDIT_BY_TOKEN,
    (Route.NEW, ErrorKind.FORBIDDEN): Route.EDIT_BY_TOKEN,
    (Route.EDIT_BY_TOKEN, ErrorKind.MESSAGE_GONE): Route.NEW_BY_TOKEN,
    (Route.EDIT_BY_TOKEN, ErrorKind.TOKEN_EXPIRED): Route.DIRECT,
    (Route.EDIT_BY_TOKEN, ErrorKind.FORBIDDEN): Route.DIRECT,
    (Route.NEW_BY_TOKEN, ErrorKind.MESSAGE_GONE): Route.DIRECT,
    (Route.NEW_BY_TOKEN, ErrorKind.TOKEN_EXPIRED): Route.DIRECT,
    (Route.NEW_BY_TOKEN, ErrorKind.FORBIDDEN): Route.DIRECT,
}


async def fit_to_limit(answer: Answer, limit: int) -> Answer:
    """Give ``answer`` with files of at most ``limit`` bytes; raises `DarkroomError` where they cannot be made so small."""
    if answer.largest <= limit:
        return answer
    smaller = await asyncio.to_thread(answer.smaller, limit)
    if smaller is None:
        raise DarkroomError(TOO_LARGE)
    return smaller


class Delivery:
    """Brings answers to the messages of creations."""

    def __init__(self, client: discord.Client, creation_store: CreationStore) -> None:
        self.client, self.creation_store = client, creation_store
        self._channel_locks: WeakValueDictionary[int, asyncio.Lock] = (
            WeakValueDictionary()
        )  # one progress edit at a time in a channel
        self._showing: dict[int, asyncio.Task[int]] = {}

    async def show(self, creation: Creation, answer: Answer) -> bool:
        """Edit progress into the message, unless another edit is under way in its channel. False where the message is gone."""
        return self._channel_lock(creation.channel_id).locked() or await self.announce(creation, answer)

    async def announce(self, creation: Creation, answer: Answer) -> bool:
        """Like `show`, but wait for its turn."""
        route, channel = _initial_route(creation), creation.channel_id
        if route is Route.EDIT_BY_TOKEN and _expired(creation) or not self.creation_store.certain:
            return True
        async with self._channel_lock(channel):
            edit = self._showing[channel] = asyncio.ensure_future(self._send(route, creation, answer))
            try:
                await asyncio.wait([edit], timeout=PROGRESS_SECONDS)
            finally:
                edit.cancel()
                del self._showing[channel]
            await asyncio.wait([edit])
        error = None if edit.cancelled() else edit.exception()
        if error is None:
            return True
        if not isinstance(error, DISCORD_ERRORS):
            raise error
        kind = classify(error)
        log.warning("a progress edit of %r was refused: %s", creation, kind.name)  # it may be missed, the result may not
        return kind not in (ErrorKind.MESSAGE_GONE, ErrorKind.CHANNEL_GONE)

    def _channel_lock(self, channel: int) -> asyncio.Lock:
        return self._channel_locks.setdefault(channel, asyncio.Lock())

    async def deliver(self, creation: Creation, answer: Answer) -> int:
        """Bring ``answer`` to its member and give the id of the message.

        Raises `UndeliverableError`, `OwnershipLostError`, and `DarkroomError` with a sentence for the member where it is the pictures that are
        refused.
        """
        if edit := self._showing.get(creation.channel_id):
            edit.cancel()  # of another message: progress gives way
        if answer.largest > (self._limit(creation) or math.inf):
            answer = await self._smaller(creation, answer)
        route = _initial_route(creation)
        give_up_at = time.monotonic() + DELIVERY_GIVE_UP_AFTER.total_seconds()
        while True:
            try:
                return await retry(partial(self._attempt, route, creation, answer), is_temporary, until=give_up_at)
            except DISCORD_ERRORS as error:
                kind = classify(error)
                log.warning("the answer of %r was refused (%s, %s)", creation, route.name, kind.name)
                if fallback := FALLBACKS.get((route, kind)):
                    route = fallback
                elif kind is ErrorKind.TOO_LARGE and answer.pictures:
                    answer = await self._smaller(creation, answer)
                elif kind is ErrorKind.INVALID and answer.pictures:
                    raise DarkroomError(NOT_TAKEN) from error
                else:
                    reason = CHANNEL_GONE if kind is ErrorKind.CHANNEL_GONE else f"Discord refused the answer: {error}"
                    raise UndeliverableError(reason) from error

    async def find(self, creation: Creation) -> discord.Message | None:
        """Look for the message of ``creation`` after a restart: one that carries its result, else the one promised.

        None where there is none; raises `UndeliverableError` where the channel is gone, `MessageUnreadableError`.
        """
        try:
            return await retry(
                partial(self._find_or_wait, creation),
                lambda error: isinstance(error, _NotYetSentError) or is_temporary(error),
            )
        except DISCORD_ERRORS as error:
            if classify(error) is ErrorKind.CHANNEL_GONE:
                raise UndeliverableError(CHANNEL_GONE) from error
            raise MessageUnreadableError(str(error)) from error

    async def _find_or_wait(self, creation: Creation) -> discord.Message | None:
        message = None
        try:
            message = await self._find(creation)
        except DISCORD_ERRORS as error:
            # Discord calls a token unknown as well where the interaction was never answered.
            if classify(error) not in (ErrorKind.MESSAGE_GONE, ErrorKind.TOKEN_EXPIRED):
                raise
        if message is None and _may_arrive(creation):
            raise _NotYetSentError
        return message

    async def _find(self, creation: Creation) -> discord.Message | None:
        if not creation.token_only or creation.posting_in:
            with contextlib.suppress(discord.Forbidden):
                return await self._find_in_channel(creation)
        if _expired(creation):
            raise MessageUnreadableError("the interaction's token has expired")
        return await self._webhook(creation).fetch_message(creation.message_id or ORIGINAL)

    async def _find_in_channel(self, creation: Creation) -> discord.Message | None:
        if creation.posting_in is not None:
            since = creation.changed - timedelta(minutes=5)  # clocks differ
            async for message in self.client.get_partial_messageable(creation.posting_in).history(after=since, limit=500):
                if shows_result_of(message, creation):
                    return message
        channel = self.client.get_partial_messageable(creation.channel_id)
        if creation.message_id is not None:
            return await channel.fetch_message(creation.message_id)
        async for message in channel.history(after=discord.Object(creation.id), limit=100):
            if message.interaction_metadata and message.interaction_metadata.id == creation.id:
                return message
        return None

    async def _attempt(self, route: Route, creation: Creation, answer: Answer) -> int:
        if route in (Route.EDIT_BY_TOKEN, Route.NEW_BY_TOKEN) and _expired(creation):
            route = Route.DIRECT
        await self.creation_store.hold(creation)
        return await self._send(route, creation, answer)

    async def _send(self, route: Route, creation: Creation, answer: Answer) -> int:
        if route is Route.EDIT:
            message = self.client.get_partial_messageable(creation.channel_id).get_partial_message(creation.message_id or 0)
            await message.edit(**answer.edit(), allowed_mentions=NO_MENTIONS)
            return message.id
        if route is Route.EDIT_BY_TOKEN:
            promised_id = creation.message_id or ORIGINAL
            edited = await self._webhook(creation).edit_message(promised_id, **answer.edit(), allowed_mentions=NO_MENTIONS)
            return edited.id
        if route is Route.NEW_BY_TOKEN:
            sent = await self._webhook(creation).send(**answer.send(), wait=True, allowed_mentions=NO_MENTIONS)
            return sent.id
        channel: Any = self.client.get_partial_messageable(creation.channel_id)
        extras: dict[str, Any] = {}
        if route is Route.DIRECT:
            channel = await self.client.create_dm(discord.Object(creation.owner))
            place = f"<#{creation.channel_id}>"
            where = say(creation.language, "What you asked for in {channel}, where I cannot post it:", channel=place)
            answer = replace(answer, text=f"{where}\n{answer.text}")
        elif creation.message_id is not None:
            promised = channel.get_partial_message(creation.message_id)
            extras["reference"] = promised.to_reference(fail_if_not_exists=False)
        # Noted before, so that a restart knows where to look; the nonce keeps Discord from taking a repeated request twice.
        await self.creation_store.update(creation, posting_in=channel.id)
        sent = await channel.send(**answer.send(), **extras, nonce=creation.id, allowed_mentions=NO_MENTIONS)
        return sent.id

    async def _smaller(self, creation: Creation, answer: Answer) -> Answer:
        smaller = await asyncio.to_thread(answer.smaller, self._limit(creation))
        if smaller is None:
            raise DarkroomError(TOO_LARGE)
        return smaller

    def _limit(self, creation: Creation) -> int:
        """Give the bytes that a file may have where ``creation`` goes, or 0 where that is not known."""
        guild = self.client.get_guild(creation.guild_id) if creation.guild_id else None
        return guild.filesize_limit if guild else 0

    def _webhook(self, creation: Creation) -> discord.Webhook:
        return discord.Webhook.partial(creation.application_id, creation.token, client=self.client)


def shows_result_of(message: discord.Message, creation: Creation) -> bool:
    """Whether ``message`` shows the finished pictures of ``creation``: its buttons name it, and there are pictures."""
    custom_ids = [getattr(child, "custom_id", None) for row in message.components for child in getattr(row, "children", ())]
    return bool(posted_files(message)) and f"darkroom:reroll:{creation.owner}:{creation.id}" in custom_ids


def _initial_route(creation: Creation) -> Route:
    return Route.EDIT_BY_TOKEN if creation.token_only else Route.EDIT


def _may_arrive(creation: Creation) -> bool:
    """Whether Discord may still carry out the first answer, asked for by a bot that has ended since."""
    return creation.message_id is None and discord.utils.utcnow() - creation.created < ORIGINAL_RESPONSE_GRACE


def _expired(creation: Creation) -> bool:
    return discord.utils.utcnow() >= creation.expires - TOKEN_MARGIN
