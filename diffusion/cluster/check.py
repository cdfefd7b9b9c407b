"""Checks of pictures where the replicas are."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import aiohttp
from PIL import Image
from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception, stop_after_attempt, wait_exponential

from diffusion.cluster.client_timeouts import CONNECT_SECONDS, FIRST_WAIT, LONGEST_WAIT, UNREACHED
from diffusion.cluster.framing import MAX_ANSWER, MEDIA_TYPE, pack, read, to_file
from diffusion.cluster.schema import Refused
from diffusion.errors import GenerationError
from diffusion.images.screening import SCREENED_AT_ONCE, shrink_for_screening
from diffusion.result import Flags

log = logging.getLogger(__name__)
TRIES: Final = 5


class RemoteCheck:
    """What checks the pictures of the model that is served at ``url``, there."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __call__(self, session: aiohttp.ClientSession, images: Sequence[Image.Image], seconds: float) -> list[Flags]:
        """Have ``images`` looked at, within ``seconds`` for every few of them; raises `GenerationError`."""
        found: list[Flags] = []
        for start in range(0, len(images), SCREENED_AT_ONCE):
            asked = await asyncio.to_thread(_worded, images[start : start + SCREENED_AT_ONCE])
            found += await self._found(session, asked, seconds)
        return found

    async def _found(self, session: aiohttp.ClientSession, asked: bytes, seconds: float) -> list[Flags]:
        """Ask one replica, and another where it is lost."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_succeed_elsewhere),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(FIRST_WAIT, LONGEST_WAIT),
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        try:
            return await retrying(self._asked, session, asked, seconds)
        except UNREACHED as error:
            log.warning("pictures could not be checked: %r", error)
            raise GenerationError("These pictures could not be checked, so I cannot show them.") from error

    async def _asked(self, session: aiohttp.ClientSession, asked: bytes, seconds: float) -> list[Flags]:
        # Silent until all are looked at, between the steps of what is drawn there.
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=seconds)
        headers = {"Content-Type": MEDIA_TYPE}
        async with session.post(f"{self.url}/checks", data=asked, headers=headers, timeout=timeout) as answer:
            answer.raise_for_status()
            head, _ = await read(answer.content, MAX_ANSWER)
        if "refused" in head:
            raise Refused.model_validate(head["refused"]).error()
        return [dict(flags) for flags in head["flags"]]


def _may_succeed_elsewhere(error: BaseException) -> bool:
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status >= 500  # with a lower one any other replica would say the same
    return isinstance(error, UNREACHED)


def _worded(images: Sequence[Image.Image]) -> bytes:
    return pack({}, [to_file(shrink_for_screening(image)) for image in images])
