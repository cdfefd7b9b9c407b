"""Ask a member before a request is accepted that takes long."""

import math
from typing import Final

from cogs.core.i18n.catalogues import say
from cogs.core.messages.confirm import CHOICE, Answers, confirm
from cogs.core.policy.context import Context
from diffusion.request import ImageRequest
from diffusion.serving.interface import ImageEngine
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


async def confirm_wait(
    context: Context, request: ImageRequest, engine: ImageEngine, expected: float
) -> tuple[Context, ImageRequest] | None:
    """Let the member choose whether to wait ``expected`` seconds for ``request``, or for drafts.

    Returns the context and the request to go on with, None if the member does not want to wait. Raises `DarkroomError`.
    """
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
