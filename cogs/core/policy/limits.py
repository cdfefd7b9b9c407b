"""What may be made where, by whom and how much of it: every request passes `Rules.admit` before any of it is made."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

import discord

from cogs.core.policy.word_filter import Rule, find_broken_rule
from cogs.core.request.options import parse_size
from cogs.core.request.preferences import MAXIMA, Preferences, Scope
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.quotas import DIRECT_MESSAGES, QuotaStore, next_reset
from diffusion.errors import DarkroomError, InvalidRequestError
from diffusion.request import ImageRequest, Limits
from diffusion.serving.interface import ImageEngine
from diffusion.text import plural

Interaction = discord.Interaction[Any]


class NotAllowedError(DarkroomError):
    """What was asked for is not made here, not for this member or not today."""


@dataclass(frozen=True)
class Allowance:
    """How many of the ``most`` pictures of today are ``used``: in the server at hand, or else in all."""

    used: int
    most: int
    here: bool

    @property
    def left(self) -> int:
        """How many may still be made."""
        return max(0, self.most - self.used)


class Rules:
    """Applies what servers and channels allow. ``daily`` is the operator's own allowance for a member, over all servers."""

    def __init__(
        self, engine: ImageEngine, preference_store: PreferenceStore, quota_store: QuotaStore, daily: int | None = None
    ) -> None:
        self.engine, self.preference_store, self.quota_store, self.daily = engine, preference_store, quota_store, daily
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def turn(self, member: int) -> asyncio.Lock:
        """Give what to hold from `admit` until the request is counted, so that two at once cannot both take the day's last."""
        return self._turns.setdefault(member, asyncio.Lock())

    def limits(self, interaction: Interaction) -> Limits:
        """Give the most that a request may ask for where ``interaction`` is."""
        return lowered(self.engine.config.limits, self.preference_store.effective_for(interaction))

    async def admit(self, interaction: Interaction, request: ImageRequest) -> None:
        """Let pass what may be made; raises `NotAllowedError`, `InvalidRequestError` beyond the limits, `RuleTimeoutError`, `DatabaseUnavailableError`."""
        if obstacle := self.obstacle(interaction):
            raise obstacle
        request.validate_limits(self.limits(interaction))
        for prompt in request.prompts:
            if broken := await self.broken(interaction, prompt):
                if broken.is_expression:
                    raise NotAllowedError("The rules of this server do not allow such a prompt.")
                raise NotAllowedError("The rules of this server do not allow “{word}”.", word=broken)
        await self.check_allowance(interaction, request.count)

    async def check_allowance(self, interaction: Interaction, pictures: int) -> int | None:
        """Give how many pictures are left to the member today, None for any number; raises `NotAllowedError` below ``pictures``."""
        allowances = await self.allowances(interaction)
        for allowance in allowances:
            if pictures > allowance.left:
                raise _spent(allowance, pictures)
        return min((allowance.left for allowance in allowances), default=None)

    async def confirm(self, interaction: Interaction) -> None:
        """Raise `NotAllowedError` where more was counted than may be: two processes may have taken the day's last at once."""
        if self.quota_store.is_shared:
            for allowance in await self.allowances(interaction):
                if allowance.used > allowance.most:
                    raise _spent(allowance, asked=allowance.used)

    async def broken(self, interaction: Interaction, text: str) -> Rule | None:
        """Find a rule of the server that ``text`` breaks; raises `RuleTimeoutError`."""
        if interaction.guild_id is None:
            return None
        here = self.preference_store.get(Scope.SERVER, interaction.guild_id)
        return await asyncio.to_thread(find_broken_rule, here.words or (), here.expressions or (), text)

    def obstacle(self, interaction: Interaction) -> NotAllowedError | None:
        """Give why no pictures are made where ``interaction`` is, or none for its member; None where they are."""
        here, channel = self.preference_store.effective_for(interaction), interaction.channel
        places = {interaction.channel_id, getattr(channel, "parent_id", None), getattr(channel, "category_id", None)}
        if here.channels and places.isdisjoint(here.channels):
            return NotAllowedError(
                "Pictures are made in {channels}. Please ask there.", channels=_listed("<#{}>", here.channels)
            )
        if here.roles and _roles(interaction).isdisjoint(here.roles):
            return NotAllowedError("Pictures are made for members with {roles} here.", roles=_listed("<@&{}>", here.roles))
        return None

    def check_remix(self, interaction: Interaction, author: int) -> None:
        """Raise `NotAllowedError` where the member ``author`` does not want others to start from their pictures or avatar."""
        if author != interaction.user.id and self.preference_store.get(Scope.MEMBER, author).remix is False:
            raise NotAllowedError("The member whose picture this is does not want others to start from it.")

    async def allowances(self, interaction: Interaction) -> list[Allowance]:
        """Give what bounds the member today: the server's allowance and the operator's, where there are any."""
        here = self.preference_store.effective_for(interaction)
        of_roles = [most for role, most in (here.allowances or {}).items() if role in _roles(interaction)]
        of_server = max(of_roles) if of_roles else here.allowance
        if of_server is None and self.daily is None:
            return []
        used = await self.quota_store.used_today(interaction.user.id)
        found = [] if of_server is None else [Allowance(used.get(interaction.guild_id or DIRECT_MESSAGES, 0), of_server, here=True)]
        return found if self.daily is None else [*found, Allowance(sum(used.values()), self.daily, here=False)]

    def check(self, preferences: Preferences) -> None:
        """Raise `InvalidRequestError` for preferences that no request could have here, or that widen the operator's limits."""
        limits = self.engine.config.limits
        for field, most in zip(MAXIMA, (limits.side, limits.steps, limits.count), strict=True):
            value = getattr(preferences, field)
            if value is not None and value > most:
                raise InvalidRequestError(field, "The {field} may be at most {most} here.", most=most)
        width, height = parse_size(preferences.size)
        least = self.engine.model.latent_factor
        request = ImageRequest("a picture", width=width or least, height=height or least, steps=preferences.steps or 1)
        self.engine.model.validate(request)
        request.validate_limits(limits)


def lowered(limits: Limits, preferences: Preferences) -> Limits:
    """Lower ``limits`` to the maxima of ``preferences``."""
    side, steps, count = (getattr(preferences, field) for field in MAXIMA)
    return replace(
        limits,
        side=min(limits.side, side or limits.side),
        steps=min(limits.steps, steps or limits.steps),
        count=min(limits.count, count or limits.count),
    )


def _roles(interaction: Interaction) -> set[int]:
    return {role.id for role in getattr(interaction.user, "roles", ())}


def _listed(form: str, ids: Iterable[int]) -> str:
    return ", ".join(form.format(id) for id in ids)


def _spent(allowance: Allowance, asked: int) -> NotAllowedError:
    when = discord.utils.format_dt(next_reset(), "R")
    left, most = allowance.left, allowance.most
    if left == 0:
        return NotAllowedError(
            plural(
                "You have reached your limit of {most} picture a day. You can make more {when}.",
                "You have reached your limit of {most} pictures a day. You can make more {when}.",
                by="most",
            ),
            most=most,
            when=when,
        )
    return NotAllowedError(
        plural(
            "You have {left} of {most} picture left today, not {asked}. You can make more {when}.",
            "You have {left} of {most} pictures left today, not {asked}. You can make more {when}.",
            by="most",
        ),
        left=left,
        most=most,
        asked=asked,
        when=when,
    )
