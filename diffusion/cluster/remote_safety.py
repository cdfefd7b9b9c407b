"""Safety screening of images by the replicas."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
from PIL import Image
from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception, stop_after_attempt, wait_exponential

from diffusion.cluster.client_timeouts import (
    CONNECT_TIMEOUT_SECONDS,
    FIRST_RETRY_SECONDS,
    MAX_RETRY_SECONDS,
    UNREACHABLE_ERRORS,
)
from diffusion.cluster.framing import MAX_RESPONSE_BYTES, MEDIA_TYPE, BrokenFrameError, encode_frame, encode_image, read_frame
from diffusion.cluster.schema import parse_error
from diffusion.errors import GenerationError
from diffusion.images.screening import SCREENED_AT_ONCE, shrink_for_screening
from diffusion.result import Flags

log = logging.getLogger(__name__)
MAX_ATTEMPTS: Final = 5


class RemoteSafetyCheck:
    """Screens images with the safety check of the replicas at ``url``.

    ``headers`` come with each request.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self.headers = dict(headers or {})

    async def __call__(self, session: aiohttp.ClientSession, images: Sequence[Image.Image], seconds: float) -> list[Flags]:
        """Return the flags of each of ``images``; raises `GenerationError`.

        Each request holds a few images, and a replica has ``seconds`` for it.
        """
        flags: list[Flags] = []
        for start in range(0, len(images), SCREENED_AT_ONCE):
            some = images[start : start + SCREENED_AT_ONCE]
            body = await asyncio.to_thread(_encode_images, some)
            flags += await self._screen(session, body, len(some), seconds)
        return flags

    async def _screen(self, session: aiohttp.ClientSession, body: bytes, count: int, seconds: float) -> list[Flags]:
        """Post ``body`` of ``count`` images to one replica after another until one answers."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_succeed_elsewhere),
            stop=stop_after_attempt(MAX_ATTEMPTS),
            wait=wait_exponential(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS),
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        try:
            return await retrying(self._post, session, body, count, seconds)
        except UNREACHABLE_ERRORS as error:
            log.warning("images could not be screened: %r", error)
            raise GenerationError("These pictures could not be checked, so I cannot show them. Please try again.") from error

    async def _post(self, session: aiohttp.ClientSession, body: bytes, count: int, seconds: float) -> list[Flags]:
        # A replica screens between the steps of its images and answers only at the end.
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=seconds)
        headers = {"Content-Type": MEDIA_TYPE} | self.headers
        async with session.post(f"{self.url}/screenings", data=body, headers=headers, timeout=timeout) as response:
            response.raise_for_status()
            head, _ = await read_frame(response.content, MAX_RESPONSE_BYTES)
        if "error" in head:
            raise parse_error(head["error"])
        return _parse_flags(head, count)


def _parse_flags(head: Mapping[str, Any], count: int) -> list[Flags]:
    """Return the flags of ``count`` images; raises `BrokenFrameError`."""
    try:
        flags = [{str(label): float(score) for label, score in each.items()} for each in head["flags"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenFrameError("The replica sent invalid flags.") from error
    if len(flags) != count:
        raise BrokenFrameError("The replica did not screen each picture.")
    return flags


def _may_succeed_elsewhere(error: BaseException) -> bool:
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status >= 500  # any other replica would answer the same
    return isinstance(error, UNREACHABLE_ERRORS)


def _encode_images(images: Sequence[Image.Image]) -> bytes:
    return encode_frame({}, [encode_image(shrink_for_screening(image)) for image in images])
