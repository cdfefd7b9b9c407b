"""Make files fit into what Discord takes of one file and of one request."""

import asyncio
from typing import Final, TypeVar

from cogs.core.messages.message import Answer
from diffusion.errors import DarkroomError
from diffusion.text import N_

AnswerT = TypeVar("AnswerT", bound=Answer)
TOO_LARGE: Final = N_("The pictures are larger than Discord takes here. Please ask for fewer or smaller ones.")


async def fit_to_limit(answer: Answer, limit: int) -> Answer:
    """Return ``answer`` with files of at most ``limit`` bytes each (0: unknown), and all together within one request.

    Raises `DarkroomError` where that is impossible.
    """
    return answer if answer.fits(limit) else await shrink(answer, limit)


async def shrink(answer: Answer, limit: int) -> Answer:
    """Return ``answer`` with smaller files; raises `DarkroomError` where that is impossible."""
    smaller = await asyncio.to_thread(answer.smaller, limit)
    if smaller is None:
        raise DarkroomError(TOO_LARGE)
    return smaller
