"""How an answer reaches its member, whatever stands in the way: all that is known about Discord's refusals stands here.

An answer is edited into the message that was promised, by the bot where it sees the channel and by the interaction's token
elsewhere. `DETOURS` tells which way comes next when one is refused.
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
from cogs.core.messages.attachments import posted
from cogs.core.messages.http_errors import REFUSALS, Refusal, is_temporary, refusal_of
from cogs.core.messages.message import Answer
from cogs.core.retry import retry
from cogs.core.storage.creations import Creation, CreationStore
from diffusion.errors import DarkroomError
from diffusion.text import N_

log = logging.getLogger(__name__)
QUIET: Final = discord.AllowedMentions.none()
PROGRESS_SECONDS = 5.0  # a progress edit that takes longer is rate-limited and gives way
ARRIVING = timedelta(seconds=5)
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


class Way(Enum):
    """Where an answer goes."""

    EDIT = auto()
    EDIT_BY_TOKEN = auto()
    NEW = auto()
    NEW_BY_TOKEN = auto()
    DIRECT = auto()


DETOURS: Final = {
    (Way.EDIT, Refusal.MESSAGE_GONE): Way.NEW,
    (Way.EDIT, Refusal.MESSAGE_OLD): Way.NEW,
    (Way.EDIT, Refusal.FORBIDDEN): Way.EDIT_BY_TOKEN,
    (Way.NEW, Refusal.FORBIDDEN): Way.EDIT_BY_TOKEN,
    (Way.EDIT_BY_TOKEN, Refusal.MESSAGE_GONE): Way.NEW_BY_TOKEN,
    (Way.EDIT_BY_TOKEN, Refusal.EXPIRED): Way.DIRECT,
    (Way.EDIT_BY_TOKEN, Refusal.FORBIDDEN): Way.DIRECT,
    (Way.NEW_BY_TOKEN, Refusal.MESSAGE_GONE): Way.DIRECT,
    (Way.NEW_BY_TOKEN, Refusal.EXPIRED): Way.DIRECT,
    (Way.NEW_BY_TOKEN, Refusal.FORBIDDEN): Way.DIRECT,
}


async def fitted(answer: Answer, limit: int) -> Answer:
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
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()  # one progress edit at a time in a channel
        self._showing: dict[int, asyncio.Task[int]] = {}

    async def show(self, creation: Creation, answer: Answer) -> bool:
        """Edit progress into the message, unless another edit is under way in its channel. False where the message is gone."""
        return self._turn(creation.channel_id).locked() or await self.announce(creation, answer)

    async def announce(self, creation: Creation, answer: Answer) -> bool:
        """Like `show`, but wait for its turn."""
        way, channel = _first_way(creation), creation.channel_id
        if way is Way.EDIT_BY_TOKEN and _expired(creation) or not self.creation_store.certain:
            return True
        async with self._turn(channel):
            edit = self._showing[channel] = asyncio.ensure_future(self._go(way, creation, answer))
            try:
                await asyncio.wait([edit], timeout=PROGRESS_SECONDS)
            finally:
                edit.cancel()
                del self._showing[channel]
            await asyncio.wait([edit])
        error = None if edit.cancelled() else edit.exception()
        if error is None:
            return True
        if not isinstance(error, REFUSALS):
            raise error
        refusal = refusal_of(error)
        log.warning("a progress edit of %r was refused: %s", creation, refusal.name)  # it may be missed, the result may not
        return refusal not in (Refusal.MESSAGE_GONE, Refusal.CHANNEL_GONE)

    def _turn(self, channel: int) -> asyncio.Lock:
        return self._turns.setdefault(channel, asyncio.Lock())

    async def deliver(self, creation: Creation, answer: Answer) -> int:
        """Bring ``answer`` to its member and give the id of the message.

        Raises `UndeliverableError`, `OwnershipLostError`, and `DarkroomError` with a sentence for the member where it is the pictures that are
        refused.
        """
        if edit := self._showing.get(creation.channel_id):
            edit.cancel()  # of another message: progress gives way
        if answer.largest > (self._limit(creation) or math.inf):
            answer = await self._smaller(creation, answer)
        way = _first_way(creation)
        give_up_at = time.monotonic() + DELIVERY_GIVE_UP_AFTER.total_seconds()
        while True:
            try:
                return await retry(partial(self._attempt, way, creation, answer), is_temporary, until=give_up_at)
            except REFUSALS as error:
                refusal = refusal_of(error)
                log.warning("the answer of %r was refused (%s, %s)", creation, way.name, refusal.name)
                if detour := DETOURS.get((way, refusal)):
                    way = detour
                elif refusal is Refusal.TOO_LARGE and answer.pictures:
                    answer = await self._smaller(creation, answer)
                elif refusal is Refusal.INVALID and answer.pictures:
                    raise DarkroomError(NOT_TAKEN) from error
                else:
                    reason = CHANNEL_GONE if refusal is Refusal.CHANNEL_GONE else f"Discord refused the answer: {error}"
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
        except REFUSALS as error:
            if refusal_of(error) is Refusal.CHANNEL_GONE:
                raise UndeliverableError(CHANNEL_GONE) from error
            raise MessageUnreadableError(str(error)) from error

    async def _find_or_wait(self, creation: Creation) -> discord.Message | None:
        message = None
        try:
            message = await self._find(creation)
        except REFUSALS as error:
            # Discord calls a token unknown as well where the interaction was never answered.
            if refusal_of(error) not in (Refusal.MESSAGE_GONE, Refusal.EXPIRED):
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
                if carries_result(message, creation):
                    return message
        channel = self.client.get_partial_messageable(creation.channel_id)
        if creation.message_id is not None:
            return await channel.fetch_message(creation.message_id)
        async for message in channel.history(after=discord.Object(creation.id), limit=100):
            if message.interaction_metadata and message.interaction_metadata.id == creation.id:
                return message
        return None

    async def _attempt(self, way: Way, creation: Creation, answer: Answer) -> int:
        if way in (Way.EDIT_BY_TOKEN, Way.NEW_BY_TOKEN) and _expired(creation):
            way = Way.DIRECT
        await self.creation_store.hold(creation)
        return await self._go(way, creation, answer)

    async def _go(self, way: Way, creation: Creation, answer: Answer) -> int:
        if way is Way.EDIT:
            message = self.client.get_partial_messageable(creation.channel_id).get_partial_message(creation.message_id or 0)
            await message.edit(**answer.edit(), allowed_mentions=QUIET)
            return message.id
        if way is Way.EDIT_BY_TOKEN:
            promised_id = creation.message_id or ORIGINAL
            edited = await self._webhook(creation).edit_message(promised_id, **answer.edit(), allowed_mentions=QUIET)
            return edited.id
        if way is Way.NEW_BY_TOKEN:
            sent = await self._webhook(creation).send(**answer.send(), wait=True, allowed_mentions=QUIET)
            return sent.id
        channel: Any = self.client.get_partial_messageable(creation.channel_id)
        extras: dict[str, Any] = {}
        if way is Way.DIRECT:
            channel = await self.client.create_dm(discord.Object(creation.owner))
            place = f"<#{creation.channel_id}>"
            where = say(creation.language, "What you asked for in {channel}, where I cannot post it:", channel=place)
            answer = replace(answer, text=f"{where}\n{answer.text}")
        elif creation.message_id is not None:
            promised = channel.get_partial_message(creation.message_id)
            extras["reference"] = promised.to_reference(fail_if_not_exists=False)
        # Noted before, so that a restart knows where to look; the nonce keeps Discord from taking a repeated request twice.
        await self.creation_store.update(creation, posting_in=channel.id)
        sent = await channel.send(**answer.send(), **extras, nonce=creation.id, allowed_mentions=QUIET)
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


def carries_result(message: discord.Message, creation: Creation) -> bool:
    """Whether ``message`` shows the finished pictures of ``creation``: its buttons name it, and there are pictures."""
    custom_ids = [getattr(child, "custom_id", None) for row in message.components for child in getattr(row, "children", ())]
    return bool(posted(message)) and f"darkroom:reroll:{creation.owner}:{creation.id}" in custom_ids


def _first_way(creation: Creation) -> Way:
    return Way.EDIT_BY_TOKEN if creation.token_only else Way.EDIT


def _may_arrive(creation: Creation) -> bool:
    """Whether Discord may still carry out the first answer, asked for by a bot that has ended since."""
    return creation.message_id is None and discord.utils.utcnow() - creation.created < ARRIVING


def _expired(creation: Creation) -> bool:
    return discord.utils.utcnow() >= creation.expires - TOKEN_MARGIN
