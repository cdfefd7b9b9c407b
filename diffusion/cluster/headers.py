"""The headers that a bot sends: who it is, and what a router wants to know."""

import re
from typing import Final

from diffusion.serving.latency import Shape

ROUTING_KEY_HEADER: Final = "x-session-id"  # the only header that Serve passes to its router
MAX_SECONDS: Final = 86_400.0  # that a request may claim: a morph of many large frames on a slow machine
_ROUTING_KEY: Final = re.compile(r"([0-9]{1,6}(?:x[0-9]{1,6}){0,7}) ([0-9]{1,9})")


def bearer(secret: str) -> dict[str, str]:
    """Return the header that proves that its sender knows ``secret``."""
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def format_routing_key(shape: Shape, seconds: float) -> str:
    """Encode the latent shape and the price of a request for the router, in milliseconds."""
    return f"{'x'.join(map(str, shape))} {round(1000 * min(seconds, MAX_SECONDS))}"


def parse_routing_key(text: str) -> tuple[Shape, float]:
    """Decode a key of `format_routing_key` to the shape and the price in seconds.

    Any other text counts as no shape and no work.
    """
    found = _ROUTING_KEY.fullmatch(text)
    return (tuple(map(int, found[1].split("x"))), min(int(found[2]) / 1000, MAX_SECONDS)) if found else ((), 0.0)
