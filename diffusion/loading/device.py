"""What this machine computes on, and how precisely, where nobody says otherwise."""

import ctypes
import os
import sys

import torch

# oneDNN keeps the code it makes for each shape that it has met, by default of 1,024 calls. Batches come in many shapes: kept
# for all, that code takes hundreds of megabytes and grows for a quarter of an hour; made anew, it costs nothing to speak of.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")

# glibc gives each thread a heap of its own, which stays as large as it ever was: pictures are encoded in many threads. And it
# raises these two thresholds by what it sees, for good: once a large batch has passed, its like are cut from the heap and leave
# it full of holes.
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
    """Name the fastest kind of device that torch finds."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def best_dtype(device: torch.device) -> torch.dtype:
    """Choose half precision where ``device`` computes it natively, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "mps":
        return torch.float16
    capabilities = torch.cpu.get_capabilities()
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("arm_bf16")
    return torch.bfloat16 if fast else torch.float32


def trim_memory() -> None:
    """Give memory that was freed back to the system, where the C library keeps it for later, as glibc does.

    Pictures of all sizes come and go, so that what is kept of them is full of holes, and without this grows for hours.
    """
    if trim := getattr(_libc, "malloc_trim", None):
        trim(0)
