"""The default device and precision, and memory settings of the C library."""

import ctypes
import os
import sys
from typing import Final

import torch

from diffusion.errors import reason_of

MEMORY_RAN_OUT: Final = (
    "memory ran out. Close other programs that use the device, lower MODELS_MAX_GB, or choose a smaller model."
)

# oneDNN caches the code that it generates for each shape, by default for 1,024 calls. Batches have many shapes, so the cache
# would grow for a quarter of an hour to hundreds of megabytes. Generating the code again costs next to nothing.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")

# glibc gives each thread a heap of its own, which never shrinks, and images are encoded in many threads. It also raises the two
# thresholds for good once it meets large blocks: later ones come from the heap and fragment it.
MALLOPT = {
    "M_ARENA_MAX": (-8, 2),  # heaps in all
    "M_MMAP_THRESHOLD": (-3, 32 << 20),  # bytes from which a block is mapped alone
    "M_TRIM_THRESHOLD": (-1, 64 << 20),  # free bytes at a heap's end that go back to the system
}
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
if mallopt := getattr(_libc, "mallopt", None):
    for parameter, value in MALLOPT.values():
        mallopt(parameter, value)


def best_device() -> str:
    """Return the fastest kind of device that torch finds."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def best_dtype(device: torch.device) -> torch.dtype:
    """Return half precision if ``device`` computes it natively, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "mps":
        return torch.float16
    capabilities = torch.cpu.get_capabilities()
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("arm_bf16")
    return torch.bfloat16 if fast else torch.float32


def trim_memory() -> None:
    """Return freed memory to the system, if the C library keeps it, as glibc does.

    Images of all sizes come and go and fragment the heap, which would grow for hours.
    """
    if trim := getattr(_libc, "malloc_trim", None):
        trim(0)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error``, or what it was raised from, means that the device is out of memory."""
    if error is None:
        return False
    # On the CPU, torch raises a plain RuntimeError.
    is_it = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
    return is_it or is_out_of_memory(error.__cause__)


def why_not_loaded(error: Exception) -> str:
    """Return the sentence that says why loading raised ``error``."""
    return MEMORY_RAN_OUT if is_out_of_memory(error) else reason_of(error)
