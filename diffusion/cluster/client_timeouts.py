"""When the bot takes a replica for lost, and when it takes its answer for a refusal."""

import asyncio
from typing import Final

import aiohttp

from diffusion.cluster.framing import BrokenFrameError

CONNECT_TIMEOUT_SECONDS: Final = 10.0
SILENCE_TIMEOUT_SECONDS: Final = 20.0  # then a replica counts as lost: several missed heartbeats
STALL_SECONDS: Final = 600.0  # without progress of what a replica draws; it sends heartbeats even if its device hangs
WAITING_STALL_SECONDS: Final = 3600.0  # the same while others are drawn before it
FIRST_RETRY_SECONDS: Final = 0.1  # between two attempts to reach a replica, doubled each time
MAX_RETRY_SECONDS: Final = 5.0
TEMPORARY_STATUSES: Final = (408, 425, 429)  # of 4xx, those that another attempt may help against
MAX_ANSWER_BYTES: Final = 500  # of the text of a refusal
NO_APPLICATION: Final = "/-/routes"  # in the answer 404 of Serve while it starts: no replica has said anything
UNREACHABLE_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError, BrokenFrameError)


class RefusedError(Exception):
    """A replica refused a request; another attempt does not help."""


async def raise_for_refusal(response: aiohttp.ClientResponse) -> None:
    """Raise `RefusedError` for a refusal, `aiohttp.ClientResponseError` where another attempt may help."""
    if 400 <= response.status < 500 and response.status not in TEMPORARY_STATUSES:
        said = (await response.content.read(MAX_ANSWER_BYTES)).decode("utf-8", "replace")
        if response.status != 404 or NO_APPLICATION not in said:
            raise RefusedError(f"{response.status} {' '.join(said.split())}")
    response.raise_for_status()
