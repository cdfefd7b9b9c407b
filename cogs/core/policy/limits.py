"""The limits on requests: where, by whom, what and how many.

Every request passes `Rules.admit` before the bot makes any of it.
"""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

import discord

from cogs.core.policy.context import Context
from cogs.core.policy.word_filter import Rule, find_broken_rule
from cogs.core.storage.stores import Stores
from cogs.core.storage.usage import DIRECT_MESSAGES, next_reset
from diffusion.errors import DarkroomError, InvalidImageError, InvalidRequestError, QueueFullError
from diffusion.request import ImageRequest
from diffusion.serving.interface import ImageEngine
from diffusion.text import N_, plural

MAX_PER_MEMBER: Final = 5
REFUSED_ATTACHMENT_CHARGE: Final = 1  # picture: an attachment that cannot be read takes time as well
ROUNDING: Final = 1e-6  # of a picture
TOO_LONG: Final = N_(
    "These pictures would take about {asked} min to draw, and one request may take {most} min."
    " Choose a smaller size, fewer steps or fewer pictures."
)
SHARE_USED: Final = N_(
    "Your unfinished requests fill the part of the queue that one member may use."
    " Please wait until one is done, or cancel one with `/queue`."
)
ALL_USED = plural(
    "You have reached your limit of {most} picture a day. You can make more {when}.",
    "You have reached your limit of {most} pictures a day. You can make more {when}.",
    by="most",
)
TOO_FEW_LEFT = plural(
    "You have {left} of {most} picture left today, not {asked}. You can make more {when}.",
    "You have {left} of {most} pictures left today, not {asked}. You can make more {when}.",
    by="most",
)
COSTS_MORE = plural(
    "These pictures count as {asked}, because they are large or have many steps, and you have {left} of {most} picture left"
    " today. Choose a smaller size or fewer steps, or ask again {when}.",
    "These pictures count as {asked}, because they are large or have many steps, and you have {left} of {most} pictures left"
    " today. Choose a smaller size or fewer steps, or ask again {when}.",
    by="most",
)
TOO_MANY_REQUESTS = plural(
    "You have {count} unfinished request, the most that one member may have."
    " Please wait until it is done, or cancel it with `/queue`.",
    "You have {count} unfinished requests, the most that one member may have."
    " Please wait until one is done, or cancel one with `/queue`.",
)


class NotAllowedError(DarkroomError):
    """The request is not allowed here, not for this member, or not today."""


class BlockedPromptError(NotAllowedError):
    """A prompt contains what the rules of the server forbid."""

    field: Final = "prompt"


@dataclass(frozen=True)
class MemberLimits:
    """The operator's limits on what one member asks for.

    A member may make ``daily`` pictures a day across all servers (None: any number), and have ``unfinished`` requests, which
    fill no more than ``queue_share`` of the queue. One request may take ``request_seconds``. The bot asks before it accepts
    one whose pictures are ready later than ``silent_wait_seconds``.
    """

    daily: int | None = None
    unfinished: int = MAX_PER_MEMBER
    request_seconds: float = math.inf
    queue_share: float = 1.0
    silent_wait_seconds: float = math.inf


NO_ALLOWANCE: Final = MemberLimits()


@dataclass(frozen=True)
class Allowance:
    """How many pictures a member made today, and how many they may make.

    It counts those of this server, or those of all servers together.
    """

    used: int
    most: int
    is_of_server: bool

    @property
    def left(self) -> int:
        """The number of pictures that the member may still make today."""
        return max(0, self.most - self.used)


class Rules:
    """Applies the rules of servers and channels, and the operator's ``limits``.

    ``limits`` may be replaced; the new ones apply to the next request.
    """

    def __init__(self, engine: ImageEngine, stores: Stores, limits: MemberLimits = NO_ALLOWANCE) -> None:
        self.engine = engine
        self.preference_store = stores.preference_store
        self.quota_store = stores.quota_store
        self.claims = stores.claims
        self.limits = limits
        self._is_shared = stores.database.is_shared  # with other processes
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._preparing: Counter[int] = Counter()

    @contextlib.asynccontextmanager
    async def admit(
        self,
        context: Context,
        request: ImageRequest,
        texts: Callable[[ImageRequest], Iterable[str]],
        *,
        is_prepared: bool = False,
        is_drawn: bool = True,
    ) -> AsyncIterator[int]:
        """Let the block queue and store ``request``; yield how many pictures of an allowance it uses.

        A picture uses one, or as many as pictures with the model's defaults have its price. Raises `DarkroomError` unless the
        member may make it here and now. ``texts`` returns the prompts and negative prompts that the server's rules about words
        hold for. ``is_prepared`` is whether `preparing` counts it; one that is not ``is_drawn``, because its pictures exist,
        uses nothing. Requests of one member pass one after another, because two at once could both use the last picture of the
        day. Other processes are seen after the block.
        """
        member_id = context.member_id
        async with self._locks.setdefault(member_id, asyncio.Lock()):
            if denial := self.denial(context):
                raise denial
            request.validate_limits(context.limits)
            if context.server.words or context.server.expressions:
                await self.check_words(context, texts(request))
            if not is_drawn:
                yield 0
                return
            price = self.engine.price(request)
            model = self.engine.model_of(request.model)
            standard = self.engine.price(model.request("a picture", model=request.model))
            self._check_price(member_id, request.count, price, standard)
            charge = max(request.count, math.ceil(price / standard - ROUNDING))
            await self.check_allowance(context, charge, request.count)
            if not is_prepared:
                await self.check_capacity(member_id)
            yield charge
            if self._is_shared:
                await self._recheck(context)

    def _check_price(self, member_id: int, pictures: int, price: float, standard: float) -> None:
        """Raise `DarkroomError` if a request takes too long, or the member too much of the queue.

        A request of the price ``standard``, that of one picture with the model's defaults, is never too long. Nothing is too
        much of the queue for a member who has no other request. Prices are the engine's, in seconds of drawing.
        """
        most = max(self.limits.request_seconds, standard)
        if price > most * (1 + ROUNDING):
            raise InvalidRequestError("request", TOO_LONG, asked=math.ceil(price / 60), most=f"{most / 60:.3g}")
        share = self.limits.queue_share
        load = self.engine.load(member_id)
        fills_share = load.pictures + pictures > share * self.engine.config.max_waiting
        if load.pictures and (fills_share or load.seconds + price > share * self.engine.config.max_waiting_seconds):
            raise QueueFullError(SHARE_USED)

    async def check_words(self, context: Context, texts: Iterable[str]) -> None:
        """Raise `BlockedPromptError` if the rules of the server forbid any of ``texts``."""
        for text in texts:
            if rule := await self.broken_rule(context, text):
                if rule.is_expression:
                    raise BlockedPromptError("The rules of this server do not allow such a prompt.")
                raise BlockedPromptError("The rules of this server do not allow “{word}”.", word=rule)

    def denial(self, context: Context) -> NotAllowedError | None:
        """Return the reason why the member may make no pictures here, or None."""
        preferences = context.preferences
        if preferences.channels and context.place_ids.isdisjoint(preferences.channels):
            channels = _mentions("<#{}>", preferences.channels)
            return NotAllowedError("Pictures can be made in {channels}. Please ask there.", channels=channels)
        if preferences.roles and context.role_ids.isdisjoint(preferences.roles):
            roles = _mentions("<@&{}>", preferences.roles)
            return NotAllowedError("Only members with {roles} can make pictures here.", roles=roles)
        return None

    async def broken_rule(self, context: Context, text: str) -> Rule | None:
        """Return a rule of the server that ``text`` breaks, or None.

        Raises `RuleTimeoutError`.
        """
        words = context.server.words or ()
        expressions = context.server.expressions or ()
        return await asyncio.to_thread(find_broken_rule, words, expressions, text) if words or expressions else None

    async def allowances(self, context: Context) -> list[Allowance]:
        """Return the member's allowances of today.

        There is one of the server and one of the operator, where they set any.
        """
        preferences = context.preferences
        of_roles = [most for role, most in (preferences.allowances or {}).items() if role in context.role_ids]
        of_server = max(of_roles, default=preferences.allowance)
        if of_server is None and self.limits.daily is None:
            return []
        used = await self.quota_store.used_today(context.member_id)
        allowances = []
        if of_server is not None:
            allowances.append(Allowance(used.get(context.guild_id or DIRECT_MESSAGES, 0), of_server, is_of_server=True))
        if self.limits.daily is not None:
            allowances.append(Allowance(sum(used.values()), self.limits.daily, is_of_server=False))
        return allowances

    async def check_allowance(self, context: Context, charge: int, pictures: int | None = None) -> int | None:
        """Return how many pictures are left today, None for any number.

        Raises `NotAllowedError` if fewer than ``charge`` are left, which ``pictures`` count as.
        """
        allowances = await self.allowances(context)
        for allowance in allowances:
            if charge > allowance.left:
                raise _allowance_error(allowance, charge, pictures or charge)
        return min((allowance.left for allowance in allowances), default=None)

    @contextlib.asynccontextmanager
    async def charging_refused_attachment(self, context: Context) -> AsyncIterator[None]:
        """Charge the member if the attachment that the block reads is refused.

        Raises `NotAllowedError` if the member has no allowance for that.
        """
        await self.check_allowance(context, REFUSED_ATTACHMENT_CHARGE)
        try:
            yield
        except InvalidImageError:
            await self.quota_store.charge(context.member_id, context.guild_id, REFUSED_ATTACHMENT_CHARGE)
            raise

    async def _recheck(self, context: Context) -> None:
        """Raise `NotAllowedError` if the member has exceeded an allowance.

        Another process may have counted a request at the same time.
        """
        for allowance in await self.allowances(context):
            if allowance.used > allowance.most:
                raise _allowance_error(allowance, allowance.used, allowance.used)

    async def check_capacity(self, member_id: int) -> None:
        """Raise `QueueFullError` if the member has too many unfinished requests.

        Counts those of all processes. No other request of the member can pass before the caller's next await.
        """
        by_others = len(await self.claims.held_by_others(member_id)) if self._is_shared else 0
        if self.engine.jobs_of(member_id) + self._preparing[member_id] + by_others >= self.limits.unfinished:
            raise QueueFullError(TOO_MANY_REQUESTS, count=self.limits.unfinished)

    @contextlib.asynccontextmanager
    async def preparing(self, member_id: int) -> AsyncIterator[None]:
        """Count a request as unfinished while it is prepared.

        Preparation may be a download. Raises `QueueFullError`.
        """
        await self.check_capacity(member_id)
        self._preparing[member_id] += 1
        try:
            yield
        finally:
            self._preparing[member_id] -= 1
            self._preparing += Counter()  # drops those at 0


def _mentions(form: str, ids: Iterable[int]) -> str:
    return ", ".join(form.format(id) for id in ids)


def _allowance_error(allowance: Allowance, charge: int, pictures: int) -> NotAllowedError:
    when = discord.utils.format_dt(next_reset(), "R")
    if allowance.left == 0:
        return NotAllowedError(ALL_USED, most=allowance.most, when=when)
    template = COSTS_MORE if charge > pictures else TOO_FEW_LEFT
    return NotAllowedError(template, left=allowance.left, most=allowance.most, asked=charge, when=when)
