"""When jobs will be done: of waiting ones estimated for all at once, of new ones told before they are accepted."""

import math
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakKeyDictionary

import discord

from cogs.core.i18n.catalogues import say
from cogs.core.messages.confirm import CHOICE, Answers, confirm
from cogs.core.policy.context import Context
from diffusion.request import ImageRequest
from diffusion.serving.interface import ImageEngine
from diffusion.serving.job import Job
from diffusion.text import N_, plural

LONG_WAIT: Final = plural(
    "These pictures would be ready in about {count} minute. Do you want to wait?",
    "These pictures would be ready in about {count} minutes. Do you want to wait?",
)
AS_DRAFTS: Final = plural(
    "As drafts, with fewer steps, they would be ready in about {count} minute.",
    "As drafts, with fewer steps, they would be ready in about {count} minutes.",
)
WAIT: Final = Answers(start=N_("Wait"))
WAIT_OR_DRAFT: Final = Answers(start=N_("Wait"), other=N_("Draw drafts"))
DRAFT_SHARE: Final = 0.75  # of the wait: a draft is offered if it takes no more
POSTING_SECONDS: Final = 2.0  # from the last step to the posted pictures
KEPT_SECONDS: Final = 1.0  # an estimate takes time in proportion to all jobs, and each of them asks for one


class Forecast:
    """Estimates the ends of jobs and keeps them for `KEPT_SECONDS`."""

    def __init__(self, engine: ImageEngine) -> None:
        self._engine = engine
        self._ends: WeakKeyDictionary[Job, datetime | None] = WeakKeyDictionary()
        self._made = -KEPT_SECONDS

    def end_of(self, job: Job) -> datetime | None:
        """Return when ``job`` will be done, None while the engine does not know."""
        now = time.monotonic()
        if job not in self._ends or now - self._made > KEPT_SECONDS:
            self._made = now
            estimates = self._engine.estimate_completion()
            posted = discord.utils.utcnow() + timedelta(seconds=POSTING_SECONDS)
            self._ends = WeakKeyDictionary(
                {each: None if seconds is None else posted + timedelta(seconds=seconds) for each, seconds in estimates.items()}
            )
        return self._ends.get(job)


async def confirm_wait(
    context: Context, request: ImageRequest, engine: ImageEngine, *, seconds: float, is_kept: Callable[[], Awaitable[object]]
) -> tuple[Context, ImageRequest] | None:
    """Let the member choose whether to wait for ``request``, or for drafts, if it takes longer than ``seconds``.

    Nobody waits for pictures that the bot has already (``is_kept``). Returns the context and the request to go on with, None
    if the member does not want to wait. Raises `DarkroomError`.
    """
    expected = engine.estimate_wait(request, context.member_id)
    if expected is None or expected <= seconds or await is_kept():
        return context, request
    lines = [say(context.language, LONG_WAIT, count=_minutes(expected))]
    model = engine.model_of(request.model)
    preset = model.defaults.of("draft")
    draft = model.change(request, **preset) if preset["steps"] < request.steps else request
    sooner = engine.estimate_wait(draft, context.member_id) or expected
    is_offered = not request.by_upscaler and sooner <= DRAFT_SHARE * expected
    if is_offered:
        lines.append(say(context.language, AS_DRAFTS, count=_minutes(sooner)))
    answered = await confirm(context, "\n".join(lines), WAIT_OR_DRAFT if is_offered else WAIT)
    if answered is None:
        return None
    return answered, draft if answered.interaction.extras[CHOICE] == "other" else request


def _minutes(seconds: float) -> int:
    return math.ceil(seconds / 60)
