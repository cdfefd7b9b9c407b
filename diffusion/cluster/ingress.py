"""What a replica takes from the network: who may ask, how much, and how long."""

import asyncio
import hmac
from typing import Final

from starlette.requests import Request

from diffusion.cluster.headers import bearer
from diffusion.images.screening import SCREENED_AT_ONCE, SCREENED_SIDE
from diffusion.request import Limits

BODY_SECONDS: Final = 30.0  # for the whole body of a request
BODIES_AT_ONCE: Final = 4  # that are read and decoded; the others wait
MAX_HEAD_BYTES: Final = 1 << 19  # of a request's JSON: many prompts with escaped characters
PNG_OVERHEAD: Final = 1.02  # of pixels that do not compress
REFUSED: Final = "The secret is missing or wrong. Set ENGINE_SECRET of the bot to that of the replicas."


class IngressError(Exception):
    """A request that the replica does not read; ``status`` is that of the answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def max_body_bytes(endpoint: str, limits: Limits) -> int:
    """Return the most bytes of a request: two pictures of the largest size, or the images of one screening."""
    pixels = SCREENED_AT_ONCE * SCREENED_SIDE**2 if endpoint == "screenings" else 2 * limits.side**2
    return int(3 * PNG_OVERHEAD * pixels) + MAX_HEAD_BYTES


class Ingress:
    """Reads the requests of those who send ``secret``."""

    def __init__(self, secret: str) -> None:
        self._authorization = bearer(secret).get("Authorization", "").encode()
        self.slots = asyncio.Semaphore(BODIES_AT_ONCE)

    def check_sender(self, http: Request) -> None:
        """Raise `IngressError` for a sender who does not know the secret."""
        sent = http.headers.get("Authorization", "").encode("latin-1")
        if not self._authorization or not hmac.compare_digest(sent, self._authorization):
            raise IngressError(401, REFUSED)

    async def read_body(self, http: Request, max_bytes: int) -> bytes:
        """Read the body; raises `IngressError` for one that is too large or too slow."""
        declared = http.headers.get("Content-Length", "0")
        if not declared.isascii() or not declared.isdigit() or len(declared) > 15 or int(declared) > max_bytes:
            raise IngressError(413, "The request is too large.")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in http.stream():
                    body += chunk
                    if len(body) > max_bytes:
                        raise IngressError(413, "The request is too large.")
        except TimeoutError:
            raise IngressError(408, "The request came too slowly.") from None
        return bytes(body)
