"""A bounded cache of encoded prompts."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

import torch

from diffusion.sampling.conditions import Conditions

TEXT_BYTES: Final = 64 * 2**20
MAX_TEXTS: Final = 1000  # members come back to a prompt soon, or not at all


class TextCache:
    """Calls ``encode`` and keeps the latest results, as many as take ``max_bytes`` together, and at most `MAX_TEXTS`.

    They are kept on the CPU, whose memory is less scarce, and returned on ``device``. A result that is larger alone is not
    kept. Safe in any thread: ``encode`` is called in one at a time.
    """

    def __init__(self, encode: Callable[..., Conditions], device: torch.device, max_bytes: int = TEXT_BYTES) -> None:
        self._encode = encode
        self._device = device
        self._max_bytes = max_bytes
        self._encoding = threading.Lock()
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Conditions] = OrderedDict()
        self.bytes = 0

    def __call__(self, *key: Any) -> Conditions:
        """Return the conditions of ``key``, which are the arguments of ``encode``."""
        if (kept := self._find(key)) is None:
            with self._encoding:
                if (kept := self._find(key)) is None:  # another thread may have encoded it meanwhile
                    kept = _off_the_card(self._encode(*key))
                    self._keep(key, kept)
        return kept.to(self._device)

    def _find(self, key: Hashable) -> Conditions | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: Hashable, encoded: Conditions) -> None:
        with self._lock:
            self._kept[key] = encoded
            self.bytes += _bytes(encoded)
            while self.bytes > self._max_bytes or len(self._kept) > MAX_TEXTS:
                self.bytes -= _bytes(self._kept.popitem(last=False)[1])

    def cache_clear(self) -> None:
        """Forget all results."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0


def _off_the_card(conditions: Conditions) -> Conditions:
    """Return ``conditions`` on the CPU; those of described models are nowhere, and stay there."""
    is_real = not any(tensor.is_meta for tensor in conditions.tensors.values())
    return conditions.to(torch.device("cpu")) if is_real else conditions


def _bytes(conditions: Conditions) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in conditions.tensors.values())
