"""How much memory a piece of work takes at its peak."""

import contextlib
import sys
from pathlib import Path

MIB = 2**20


class Memory:
    """``with Memory() as memory``: `growth` is by how much the process was larger at most than before, in bytes."""

    def __enter__(self):
        with contextlib.suppress(OSError):  # Linux forgets its earlier peak; elsewhere a growth below it is not seen
            Path("/proc/self/clear_refs").write_text("5")
        self.before = self.peak = _peak()
        return self

    def __exit__(self, *_):
        self.peak = _peak()

    @property
    def growth(self):
        return self.peak - self.before

    def __str__(self):
        return f"{self.before / MIB:.0f} MiB before, {self.growth / MIB:.0f} MiB more at the peak"


def _peak():
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
