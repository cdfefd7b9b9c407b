"""How many rows of a network call the device's memory holds. No tensors."""

import sys
import time
from collections.abc import Callable
from typing import Final

from diffusion.serving.latency import Shape

MEMORY_RETRY_SECONDS: Final = 300.0  # after which larger calls are tried again: others may have freed memory


class FittingRows:
    """Remembers for a while, by the shape of the latents, which calls took too much memory."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._found: dict[Shape, tuple[int, float]] = {}  # rows, and when they are forgotten

    def record(self, shape: Shape, rows: int) -> None:
        """Record that calls for ``shape`` should have no more than ``rows``."""
        self._found[shape] = (rows, self._now() + MEMORY_RETRY_SECONDS)

    def forget(self, shape: Shape) -> None:
        """Remove the limit of ``shape``."""
        self._found.pop(shape, None)

    def rows(self, shape: Shape) -> int:
        """Return the most rows to try for ``shape``."""
        return self.by_shape().get(shape, sys.maxsize)

    def by_shape(self) -> dict[Shape, int]:
        """Return the most rows for each shape that has a limit."""
        if self._found:
            now = self._now()
            self._found = {shape: found for shape, found in self._found.items() if found[1] > now}
        return {shape: rows for shape, (rows, _) in self._found.items()}
