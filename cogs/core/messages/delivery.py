"""Deliver an answer to its member on whichever route Discord accepts.

Normally the bot edits the message that announced the pictures: as itself where it sees the channel, with the interaction's
token elsewhere. If Discord rejects a route, `FALLBACKS` names the next one.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify, is_temporary
from cogs.core.messages.message import NO_MENTIONS, Answer
from cogs.core.messages.views import shows_result_of
from cogs.core.retry import retry
from cogs.core.storage.creations import Creation, CreationStore
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

log = logging.getLogger(__name__)
PROGRESS_EDIT_SECONDS = 5.0  # a progress edit that takes longer is rate-limited and is dropped
ORIGINAL_RESPONSE_GRACE = timedelta(seconds=5)
DELIVERY_GIVE_UP_AFTER = timedelta(days=1)
CLOCK_DIFFERENCE = timedelta(minutes=5)  # the most between this machine and Discord
TOKEN_LIFE_MINUTES = 15
TOKEN_MINUTES = 14  # for drawing; the rest is for delivery
TOKEN_MARGIN = timedelta(seconds=10)
TOO_LARGE = N_("The pictures are larger than Discord takes here. Please ask for fewer or smaller ones.")
NOT_TAKEN = N_("Discord did not accept the pictures. Please try again.")
CHANNEL_GONE = "The channel is gone."


class _Original:
    """The id "@original" of an interaction's response.

    discord.py would percent-encode the @ of a str.
    """

    def __str__(self) -> str:
        return "@original"


ORIGINAL: Final[Any] = _Original()


class UndeliverableError(Exception):
    """No route reached the member; the database records the text."""


class MessageUnreadableError(Exception):
    """The bot cannot see whether a message exists: no permission, no token."""


class _NotYetSentError(Exception):
    """The first answer of an earlier run may still arrive at Discord."""


class Route(Enum):
    """How an answer reaches its member."""

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
TOKEN_ROUTES: Final = (Route.EDIT_BY_TOKEN, Route.NEW_BY_TOKEN)


class Delivery:
    """Sends answers to the messages of creations."""

    def __init__(self, client: discord.Client, creation_store: CreationStore) -> None:
        self.client = client
        self.creation_store = creation_store
        self._channel_locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()  # one progress edit at a time
        self._progress_edits: dict[int, asyncio.Task[int]] = {}  # by channel

    async def show(self, creation: Creation, answer: Answer) -> bool:
        """Edit progress into the message unless its channel is busy.

        Returns False if the message is gone.
        """
        return self._channel_lock(creation.channel_id).locked() or await self.announce(creation, answer)

    async def announce(self, creation: Creation, answer: Answer) -> bool:
        """Edit progress into the message once its channel is free.

        Returns False if the message is gone.
        """
        route = _initial_route(creation)
        channel = creation.channel_id
        if (route is Route.EDIT_BY_TOKEN and _has_expired(creation)) or not self.creation_store.is_ownership_certain:
            return True
        async with self._channel_lock(channel):
            edit = asyncio.ensure_future(self._send(route, creation, answer))
            self._progress_edits[channel] = edit
            try:
                await asyncio.wait([edit], timeout=PROGRESS_EDIT_SECONDS)
            finally:
                edit.cancel()
                del self._progress_edits[channel]
            await asyncio.wait([edit])
        error = None if edit.cancelled() else edit.exception()
        if error is None:
            return True
        if not isinstance(error, DISCORD_ERRORS):
            raise error
        kind = classify(error)
        log.warning("Discord rejected a progress edit of %r: %s", creation, kind.name)  # lost progress does not matter
        return kind not in (ErrorKind.MESSAGE_GONE, ErrorKind.CHANNEL_GONE)

    def _channel_lock(self, channel: int) -> asyncio.Lock:
        return self._channel_locks.setdefault(channel, asyncio.Lock())

    async def deliver(self, creation: Creation, answer: Answer) -> int:
        """Deliver ``answer`` to its member and return the id of the message.

        Raises `UndeliverableError`, `OwnershipLostError`, and `DarkroomError` with a text for the member where Discord rejects
        the pictures.
        """
        if edit := self._progress_edits.get(creation.channel_id):
            edit.cancel()  # a result goes before the progress of another request
        if answer.largest > (self._size_limit(creation) or math.inf):
            answer = await self._shrink(creation, answer)
        route = _initial_route(creation)
        give_up_at = time.monotonic() + DELIVERY_GIVE_UP_AFTER.total_seconds()
        while True:
            try:
                return await retry(partial(self._try, route, creation, answer), is_temporary, until=give_up_at)
            except DISCORD_ERRORS as error:
                kind = classify(error)
                log.warning("Discord rejected the answer of %r (%s, %s)", creation, route.name, kind.name)
                if fallback := FALLBACKS.get((route, kind)):
                    route = fallback
                elif kind is ErrorKind.TOO_LARGE and answer.pictures:
                    answer = await self._shrink(creation, answer)
                elif kind is ErrorKind.INVALID and answer.pictures:
                    raise DarkroomError(NOT_TAKEN) from error
                else:
                    reason = CHANNEL_GONE if kind is ErrorKind.CHANNEL_GONE else f"Discord rejected the answer: {error}"
                    raise UndeliverableError(reason) from error

    async def find(self, creation: Creation) -> discord.Message | None:
        """Find the message of ``creation`` after a restart.

        Prefers a message that shows the result over the one that announced it. Returns None where there is none. Raises
        `UndeliverableError` where the channel is gone, and `MessageUnreadableError`.
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
            # Discord also calls a valid token unknown if its interaction was never answered.
            if classify(error) not in (ErrorKind.MESSAGE_GONE, ErrorKind.TOKEN_EXPIRED):
                raise
        if message is None and _may_still_arrive(creation):
            raise _NotYetSentError
        return message

    async def _find(self, creation: Creation) -> discord.Message | None:
        if not creation.token_only or creation.posting_in:
            with contextlib.suppress(discord.Forbidden):
                return await self._find_in_channel(creation)
        if _has_expired(creation):
            raise MessageUnreadableError("The interaction's token has expired.")
        return await self._webhook(creation).fetch_message(creation.message_id or ORIGINAL)

    async def _find_in_channel(self, creation: Creation) -> discord.Message | None:
        if creation.posting_in is not None:
            since = creation.changed - CLOCK_DIFFERENCE
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

    async def _try(self, route: Route, creation: Creation, answer: Answer) -> int:
        if route in TOKEN_ROUTES and _has_expired(creation):
            route = Route.DIRECT
        await self.creation_store.assert_owned(creation)
        return await self._send(route, creation, answer)

    async def _send(self, route: Route, creation: Creation, answer: Answer) -> int:
        match route:
            case Route.EDIT:
                message = self._channel(creation).get_partial_message(creation.message_id or 0)
                await message.edit(**answer.edit(), allowed_mentions=NO_MENTIONS)
                return message.id
            case Route.EDIT_BY_TOKEN:
                message_id = creation.message_id or ORIGINAL
                webhook = self._webhook(creation)
                return (await webhook.edit_message(message_id, **answer.edit(), allowed_mentions=NO_MENTIONS)).id
            case Route.NEW_BY_TOKEN:
                webhook = self._webhook(creation)
                return (await webhook.send(**answer.send(), wait=True, allowed_mentions=NO_MENTIONS)).id
            case Route.NEW:
                extras: dict[str, Any] = {}
                channel = self._channel(creation)
                if creation.message_id is not None:
                    announcing = channel.get_partial_message(creation.message_id)
                    extras["reference"] = announcing.to_reference(fail_if_not_exists=False)
                return await self._post(creation, answer, channel, **extras)
            case Route.DIRECT:
                text = say(
                    creation.language,
                    "The answer to your request in {channel}, where I cannot post it:",
                    channel=f"<#{creation.channel_id}>",
                )
                answer = replace(answer, text=f"{text}\n{answer.text}")
                return await self._post(creation, answer, await self.client.create_dm(discord.Object(creation.owner)))

    async def _post(self, creation: Creation, answer: Answer, channel: Any, **extras: Any) -> int:
        # The channel is recorded first, so that a restart knows where to look. Discord posts one message per nonce.
        await self.creation_store.update(creation, posting_in=channel.id)
        message = await channel.send(**answer.send(), **extras, nonce=creation.id, allowed_mentions=NO_MENTIONS)
        return int(message.id)

    async def _shrink(self, creation: Creation, answer: Answer) -> Answer:
        smaller = await asyncio.to_thread(answer.smaller, self._size_limit(creation))
        if smaller is None:
            raise DarkroomError(TOO_LARGE)
        return smaller

    def _size_limit(self, creation: Creation) -> int:
        """Return the most bytes of a file where ``creation`` goes, 0 if unknown."""
        guild = self.client.get_guild(creation.guild_id) if creation.guild_id else None
        return guild.filesize_limit if guild else 0

    def _channel(self, creation: Creation) -> discord.PartialMessageable:
        return self.client.get_partial_messageable(creation.channel_id)

    def _webhook(self, creation: Creation) -> discord.Webhook:
        return discord.Webhook.partial(creation.application_id, creation.token, client=self.client)


async def fit_to_limit(answer: Answer, limit: int) -> Answer:
    """Return ``answer`` with files of at most ``limit`` bytes.

    Raises `DarkroomError` where that is impossible.
    """
    if answer.largest <= limit:
        return answer
    smaller = await asyncio.to_thread(answer.smaller, limit)
    if smaller is None:
        raise DarkroomError(TOO_LARGE)
    return smaller


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
    deadline = creation.expires - timedelta(minutes=TOKEN_LIFE_MINUTES - TOKEN_MINUTES)
    try:
        async with asyncio.timeout((deadline - discord.utils.utcnow()).total_seconds()):
            yield
    except TimeoutError:
        raise DarkroomError(
            plural(
                "This took longer than the {count} minute in which I can answer here. Please ask for less.",
                "This took longer than the {count} minutes in which I can answer here. Please ask for less.",
            ),
            count=TOKEN_MINUTES,
        ) from None


def _initial_route(creation: Creation) -> Route:
    return Route.EDIT_BY_TOKEN if creation.token_only else Route.EDIT


def _may_still_arrive(creation: Creation) -> bool:
    return creation.message_id is None and discord.utils.utcnow() - creation.created < ORIGINAL_RESPONSE_GRACE


def _has_expired(creation: Creation) -> bool:
    return discord.utils.utcnow() >= creation.expires - TOKEN_MARGIN
