"""Which of several ways to call a network is the fastest, by a short measurement on this machine."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

ROWS: Final = (1, 2, 8)  # of the calls that are measured
ROUNDS: Final = 5
QUIET_SHARE: Final = 0.8  # of a core that a measured call has had at least, where no other process took it away
BUDGET_SECONDS: Final = 20.0  # of all calls that are measured; large networks are measured in fewer and smaller ones


@dataclass(frozen=True)
class Speeds:
    """The ``seconds`` of a call, by way and number of rows.

    Ways in ``paired`` compute two halves of the rows side by side. ``is_quiet`` says that nothing else kept the cores busy.
    """

    seconds: Mapping[str, Mapping[int, float]]
    paired: frozenset[str] = frozenset()
    is_quiet: bool = True

    def fastest(self, rows: int) -> str:
        """Return the way whose calls of ``rows`` rows are fastest."""
        return min(self.seconds, key=lambda way: self.estimate(way, rows))

    def estimate(self, way: str, rows: int) -> float:
        """Return the seconds of a call of ``rows`` rows, between and beyond those that were measured."""
        if way in self.paired:
            rows += rows % 2  # the larger half counts
        known = sorted(self.seconds[way].items())
        if not known or rows < known[0][0]:
            return float("inf")
        for (fewer, less), (more, longer) in pairwise(known):
            if rows <= more:
                return less + (longer - less) * (rows - fewer) / (more - fewer)
        most, longest = known[-1]
        return longest * rows / most

    def to_json(self) -> Any:
        """Return the seconds and `is_quiet` as JSON values."""
        seconds = {way: {str(rows): taken for rows, taken in known.items()} for way, known in self.seconds.items()}
        return {"seconds": seconds, "is_quiet": self.is_quiet}

    @classmethod
    def from_json(cls, value: Any, paired: frozenset[str] = frozenset()) -> "Speeds":
        """Return what `to_json` made; raises `LookupError`, `ValueError`, `TypeError` or `AttributeError` for others."""
        seconds = {
            str(way): {int(rows): float(taken) for rows, taken in known.items()} for way, known in value["seconds"].items()
        }
        return cls(seconds, paired, bool(value["is_quiet"]))


def measure(ways: Mapping[str, Callable[[int], object]], paired: frozenset[str] = frozenset()) -> Speeds:
    """Return the speeds of ``ways``, which are called with a number of rows: each the least of several calls in turns.

    Ways in ``paired`` are not measured with one row.
    """
    seconds: dict[str, dict[int, float]] = {way: {} for way in ways}
    # The second call, as the first one may load the network.
    first = max(min(_seconds(call, 1), _seconds(call, 1)) for way, call in ways.items() if way not in paired)
    began = time.perf_counter()
    computed = time.process_time()
    for rows in ROWS:
        if rows > 1 and first * rows * len(ways) * 2 > BUDGET_SECONDS:
            break
        for turn in range(ROUNDS + 1):
            if turn > 1 and time.perf_counter() - began > BUDGET_SECONDS * rows / sum(ROWS):
                break
            for way, call in ways.items():
                if rows > 1 or way not in paired:
                    taken = _seconds(call, rows)
                    if turn:  # the first one generates code for this shape
                        seconds[way][rows] = min(taken, seconds[way].get(rows, taken))
    is_quiet = time.process_time() - computed >= QUIET_SHARE * (time.perf_counter() - began)
    return Speeds(seconds, paired, is_quiet)


def _seconds(call: Callable[[int], object], rows: int) -> float:
    began = time.perf_counter()
    call(rows)
    return time.perf_counter() - began
