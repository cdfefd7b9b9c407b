"""The headers that a bot sends: who it is, and what a router wants to know."""

import re
from typing import Final

from diffusion.serving.latency import Shape

ROUTING_KEY_HEADER: Final = "x-session-id"  # the only header that Serve passes to its router
MAX_ROWS: Final = 100_000  # that a request may claim: a morph of many frames and steps
_ROUTING_KEY: Final = re.compile(r"([0-9]{1,6}(?:x[0-9]{1,6}){0,7}) ([0-9]{1,9})")


def bearer(secret: str) -> dict[str, str]:
    """Return the header that proves that its sender knows ``secret``."""
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def format_routing_key(shape: Shape, rows: int) -> str:
    """Encode the latent shape and the rows of a request for the router.

    ``rows`` are rows of network calls.
    """
    return f"{'x'.join(map(str, shape))} {rows}"


def parse_routing_key(text: str) -> tuple[Shape, int]:
    """Decode a key of `format_routing_key`.

    Any other text counts as no shape and no rows.
    """
    found = _ROUTING_KEY.fullmatch(text)
    return (tuple(map(int, found[1].split("x"))), min(int(found[2]), MAX_ROWS)) if found else ((), 0)
