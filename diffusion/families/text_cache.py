"""A cache of encoded prompts that is bounded by its bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

from diffusion.sampling.conditions import Conditions

TEXT_BYTES: Final = 64 * 2**20


class TextCache:
    """Calls ``encode`` and keeps the latest results, as many as take ``max_bytes`` together.

    A result that is larger alone is not kept. Safe in any thread, as far as ``encode`` is.
    """

    def __init__(self, encode: Callable[..., Conditions], max_bytes: int = TEXT_BYTES) -> None:
        self._encode = encode
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Conditions] = OrderedDict()
        self.bytes = 0

    def __call__(self, *key: Any) -> Conditions:
        """Return the conditions of ``key``, which are the arguments of ``encode``."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        encoded = self._encode(*key)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = encoded
                self.bytes += _bytes(encoded)
            while self.bytes > self._max_bytes:
                self.bytes -= _bytes(self._kept.popitem(last=False)[1])
        return encoded

    def cache_clear(self) -> None:
        """Forget all results."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0


def _bytes(conditions: Conditions) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in conditions.tensors.values())
