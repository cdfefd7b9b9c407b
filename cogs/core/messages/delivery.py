"""Deliver an answer to its member on whichever route Discord accepts.

Normally the bot edits the message that announced the pictures. If Discord rejects that, `routes` names the next way.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

import discord

from cogs.core.i18n.catalogues import say
from cogs.core.messages.announcement import Announcement, MessageUnreadableError
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, TokenExpiredError, classify, is_temporary
from cogs.core.messages.message import NO_MENTIONS, Answer
from cogs.core.messages.replies import BLOCKED
from cogs.core.messages.routes import (
    EDIT_ROUTES,
    ORIGINAL,
    TOKEN_ROUTES,
    Attempt,
    Route,
    has_expired,
    initial_route,
    webhook_of,
)
from cogs.core.messages.uploads import TOO_LARGE, shrink
from cogs.core.storage.creations import Creation, CreationStore
from cogs.core.tasks import retry
from diffusion.errors import DarkroomError
from diffusion.text import N_

log = logging.getLogger(__name__)
PROGRESS_EDIT_SECONDS = 5.0  # a progress edit that takes longer is rate-limited and is dropped
PROGRESS_WINDOW_SECONDS = 5.0
PROGRESS_EDITS = 3  # in that window, of the about 5 that Discord allows; the others are for results
SETTLE_SECONDS = 15.0
DELIVERY_GIVE_UP_AFTER = timedelta(days=1)
NOT_TAKEN = N_("Discord did not accept the pictures. Please try again.")
NOT_ACCEPTED: Final = {ErrorKind.BLOCKED: BLOCKED, ErrorKind.TOO_LARGE: TOO_LARGE, ErrorKind.INVALID: NOT_TAKEN}
KEPT_LANES: Final = 200
CHANNEL_GONE = "The channel is gone."


class UndeliverableError(Exception):
    """No route reached the member; the database records the text."""


@dataclass(eq=False)
class _Lane:
    """One progress edit at a time, and few, for messages that share a rate limit.

    ``times`` are those of `time.monotonic` at which the latest edits began.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    edit: "asyncio.Task[int] | None" = None
    times: deque[float] = field(default_factory=lambda: deque(maxlen=PROGRESS_EDITS))


class Delivery:
    """Sends answers to the messages of creations."""

    def __init__(self, client: discord.Client, creation_store: CreationStore) -> None:
        self.client = client
        self.creation_store = creation_store
        self._lanes: WeakValueDictionary[int, _Lane] = WeakValueDictionary()  # by channel, or by creation for its token
        self._kept_lanes: deque[_Lane] = deque(maxlen=KEPT_LANES)  # their counts outlive the edits

    async def announce(self, creation: Creation, answer: Answer, *, waits: bool = True) -> bool:
        """Edit progress into the message once no other progress is on its way.

        Unless it ``waits``, it leaves out what could make a result wait. Returns False if the message is gone.
        """
        route = initial_route(creation)
        if (route is Route.EDIT_BY_TOKEN and has_expired(creation)) or not self.creation_store.is_ownership_certain:
            return True
        lane = self._lane(creation, route)
        is_used_up = len(lane.times) == PROGRESS_EDITS and time.monotonic() - lane.times[0] < PROGRESS_WINDOW_SECONDS
        if not waits and (lane.lock.locked() or is_used_up):
            return True
        async with lane.lock:
            lane.times.append(time.monotonic())
            lane.edit = edit = asyncio.ensure_future(self._send(route, creation, answer))
            try:
                await asyncio.wait([edit], timeout=PROGRESS_EDIT_SECONDS)
            finally:
                edit.cancel()
                lane.edit = None
            await asyncio.wait([edit])
        error = None if edit.cancelled() else edit.exception()
        if error is None:
            return True
        if not isinstance(error, DISCORD_ERRORS):
            raise error
        kind = classify(error)
        log.warning("Discord rejected a progress edit of %r: %s", creation, kind.name)  # lost progress does not matter
        return kind not in (ErrorKind.MESSAGE_GONE, ErrorKind.CHANNEL_GONE)

    def _lane(self, creation: Creation, route: Route) -> _Lane:
        key = creation.id if route in TOKEN_ROUTES else creation.channel_id
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
            self._kept_lanes.append(lane)
        return lane

    async def deliver(self, creation: Creation, answer: Answer) -> int:
        """Deliver ``answer`` to its member and return the id of the message.

        Raises `UndeliverableError`, `OwnershipLostError`, and `DarkroomError` with a text for the member where Discord rejects
        the pictures.
        """
        guild = self.client.get_guild(creation.guild_id) if creation.guild_id else None
        limit = guild.filesize_limit if guild else 0
        attempt = Attempt(creation, answer if answer.fits(limit) else await shrink(answer, limit))
        if edit := self._lane(creation, attempt.route).edit:
            edit.cancel()  # a result goes before the progress of another request
        give_up_at = time.monotonic() + DELIVERY_GIVE_UP_AFTER.total_seconds()
        while True:
            try:
                message_id = await retry(partial(self._try, creation, attempt), is_temporary, until=give_up_at)
            except DISCORD_ERRORS as error:
                kind = classify(error)
                log.warning("Discord rejected the answer of %r (%s, %s)", creation, attempt.route.name, kind.name)
                if kind is ErrorKind.TOO_LARGE and answer.pictures:
                    attempt.answer = await shrink(attempt.answer, limit)
                elif kind in NOT_ACCEPTED and answer.pictures:
                    raise DarkroomError(NOT_ACCEPTED[kind]) from error
                elif not attempt.change(kind):
                    await self._withdraw(creation, attempt)
                    reason = CHANNEL_GONE if kind is ErrorKind.CHANNEL_GONE else f"Discord rejected the answer: {error}"
                    raise UndeliverableError(reason) from error
            else:
                if attempt.route not in EDIT_ROUTES:
                    await self._withdraw(creation, attempt)
                return message_id

    async def settle(self, creation: Creation, answer: Answer) -> None:
        """Edit the last word about ``creation`` into its message.

        Deletes the message if Discord refuses every text.
        """
        if not self.creation_store.is_ownership_certain:
            return
        attempt = Attempt(creation, answer, EDIT_ROUTES)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while True:
                    try:
                        await retry(partial(self._send, attempt.route, creation, attempt.answer), is_temporary)
                        return
                    except DISCORD_ERRORS as error:
                        kind = classify(error)
                        log.warning("Discord rejected the end of %r (%s, %s)", creation, attempt.route.name, kind.name)
                        if not attempt.change(kind):
                            break
                if attempt.is_refused:
                    await self._withdraw(creation, attempt)

    async def _withdraw(self, creation: Creation, attempt: Attempt) -> None:
        """Remove the announcement's buttons.

        Deletes it where no pictures came: its text would promise them for ever.
        """
        if not attempt.is_gone:
            await Announcement(self.client, creation).withdraw(delete=not attempt.answer.pictures)

    async def find(self, creation: Creation) -> discord.Message | None:
        """Find the message of ``creation`` after a restart, as `Announcement.find` does.

        Raises `UndeliverableError` where the channel is gone, and `MessageUnreadableError`.
        """
        try:
            return await Announcement(self.client, creation).find()
        except DISCORD_ERRORS as error:
            if classify(error) is ErrorKind.CHANNEL_GONE:
                raise UndeliverableError(CHANNEL_GONE) from error
            raise MessageUnreadableError(str(error)) from error

    async def _try(self, creation: Creation, attempt: Attempt) -> int:
        if attempt.route in TOKEN_ROUTES and has_expired(creation):
            raise TokenExpiredError
        await self.creation_store.assert_owned(creation)
        return await self._send(attempt.route, creation, attempt.answer, private=creation.private or attempt.is_refused)

    async def _send(self, route: Route, creation: Creation, answer: Answer, private: bool = False) -> int:
        announcement = Announcement(self.client, creation)
        match route:
            case Route.EDIT:
                message = announcement.message
                await message.edit(**answer.edit(), allowed_mentions=NO_MENTIONS)
                return message.id
            case Route.EDIT_BY_TOKEN:
                edit = webhook_of(self.client, creation).edit_message
                return (await edit(creation.message_id or ORIGINAL, **answer.edit(), allowed_mentions=NO_MENTIONS)).id
            case Route.NEW_BY_TOKEN:
                send = webhook_of(self.client, creation).send
                return (await send(**answer.send(), wait=True, ephemeral=private, allowed_mentions=NO_MENTIONS)).id
            case Route.NEW:
                extras: dict[str, Any] = {}
                if creation.message_id is not None:
                    extras["reference"] = announcement.message.to_reference(fail_if_not_exists=False)
                return await self._post(creation, answer, announcement.channel, **extras)
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
