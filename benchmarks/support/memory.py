"""Peak memory of this process."""

import contextlib
import resource
import sys
from pathlib import Path

MIB = 2**20


def reset_peak() -> None:
    """Reset the peak, on Linux only."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """Return the peak memory of this process in bytes, since the last `reset_peak`."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
