"""One budget for the bytes of all pictures that the process holds for members."""

import asyncio
import contextlib
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from PIL import Image

BUDGET_BYTES: Final = 256 * 2**20
POLL_SECONDS: Final = 0.02


class ByteBudget:
    """Counts bytes that are held; who wants more than are left waits in turn.

    Images give their bytes back when they are garbage, in whatever thread that happens.
    """

    def __init__(self, total: int = BUDGET_BYTES) -> None:
        self.total = total
        self.held = 0
        self._lock = threading.Lock()
        self._waiting: deque[object] = deque()

    @contextlib.asynccontextmanager
    async def reserve(self, count: int) -> AsyncIterator[None]:
        """Hold ``count`` bytes during the block; wait for them if need be."""
        turn = object()
        self._waiting.append(turn)
        try:
            # An event cannot wake it: images become garbage in any thread.
            while self._waiting[0] is not turn or not self._take(count):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._waiting.remove(turn)
        try:
            yield
        finally:
            self._add(-count)

    def hold(self, image: Image.Image) -> None:
        """Count the pixels of ``image`` as long as it lives."""
        count = image.width * image.height * len(image.getbands())
        self._add(count)
        weakref.finalize(image, self._add, -count).atexit = False

    def _take(self, count: int) -> bool:
        with self._lock:
            if self.held and self.held + count > self.total:
                return False
            self.held += count
            return True

    def _add(self, count: int) -> None:
        with self._lock:
            self.held += count


PICTURE_BYTES: Final = ByteBudget()
