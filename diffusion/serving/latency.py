"""How long things take on this machine, learned from its own steps. No tensors, no clock."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from diffusion.serving.batcher import Batcher, Item

DECAY: Final = 0.95  # how much an earlier step still counts after each further one
SATURATION: Final = 0.85  # of the rows a second that calls of ever more rows tend to

Shape = tuple[int, ...]


class Pending(Item, Protocol):
    """One image that has ``left`` evaluations of the network before it."""

    @property
    def shape(self) -> Shape: ...  # noqa: D102


T = TypeVar("T", bound=Pending)


class DecayingLinearFit:
    """A straight line through points (x, y), fitted by least squares that forget the older ones."""

    def __init__(self) -> None:
        self.n = self.x = self.y = self.xx = self.xy = 0.0

    def add(self, x: float, y: float) -> None:
        """Take another point in."""
        self.n, self.x, self.y = DECAY * self.n + 1, DECAY * self.x + x, DECAY * self.y + y
        self.xx, self.xy = DECAY * self.xx + x * x, DECAY * self.xy + x * y

    @property
    def slope(self) -> float | None:
        """How much y grows with x, at least 0 and at most in proportion; None while all points had the same x."""
        spread = self.n * self.xx - self.x**2
        if spread < 1e-3 * self.x**2:
            return None
        return min(max((self.n * self.xy - self.x * self.y) / spread, 0.0), self.y / self.x)

    def at(self, x: float) -> float:
        """Give y at ``x``: proportional to it while all points had the same x, never falling with it."""
        slope = self.y / self.x if self.slope is None else self.slope
        return (self.y - slope * self.x) / self.n + slope * x

    def saturation_rows(self, share: float) -> float | None:
        """Give the x from which on x / y is at least a ``share`` of what it tends to; None while that is not known."""
        slope = self.slope
        if slope is None:
            return None
        if slope == 0:
            return math.inf
        return share / (1 - share) * (self.y - slope * self.x) / self.n / slope


class LatencyModel:
    """What a call of the network costs, by the shape of its latents and its number of rows."""

    def __init__(self) -> None:
        self._lines: dict[Shape, DecayingLinearFit | None] = {}

    def observe(self, shape: Shape, rows: int, seconds: float) -> None:
        """Note that a call took so long. The first one of a shape warms the device up and says nothing."""
        if shape not in self._lines:
            self._lines[shape] = None
            return
        line = self._lines[shape] = self._lines[shape] or DecayingLinearFit()
        line.add(rows, seconds)

    def seconds(self, shape: Shape, rows: int) -> float | None:
        """Estimate a call; for a shape never seen, from the one that is nearest in size. None before any was timed."""
        known = {other: line for other, line in self._lines.items() if line}
        if not known:
            return None
        cells = math.prod(shape)
        nearest = shape if shape in known else min(known, key=lambda other: abs(math.log(math.prod(other) / cells)))
        return known[nearest].at(rows) * cells / math.prod(nearest)

    def saturation_rows(self) -> float | None:
        """Give the rows from which on more of them hardly make pictures sooner: `SATURATION` of the best rate, for any shape."""
        knees = [
            saturation_rows
            for line in self._lines.values()
            if line and (saturation_rows := line.saturation_rows(SATURATION)) is not None
        ]
        return max(knees, default=None)


@dataclass(eq=False)
class _SimulatedItem(Generic[T]):
    """Stands for an image while the steps are played ahead."""

    item: T
    owner: Hashable
    shape: Shape
    rows: int
    left: int


def estimate_completion(batcher: Batcher[T], latency: LatencyModel) -> dict[T, float | None]:
    """Play the steps of ``batcher`` ahead: in how many seconds each image will be done, None while ``latency`` knows nothing.

    Those that run come first, then the others in the order in which they would be admitted.
    """
    played = batcher.copy(lambda item: _SimulatedItem(item, item.owner, item.shape, item.rows, item.left))
    done: dict[T, float | None] = dict.fromkeys([*batcher.running(), *batcher.waiting()])
    now = 0.0
    while len(played):
        played.admit()
        running = list(played.running())
        together: dict[Shape, int] = {}
        for each in running:
            together[each.shape] = together.get(each.shape, 0) + each.rows
        # More rows than a call may have take several calls.
        calls = {shape: max(1.0, rows / played.max_rows) for shape, rows in together.items()}
        round_ = [latency.seconds(shape, round(rows / calls[shape])) for shape, rows in together.items()]
        if not running or None in round_:
            return done
        steps = min(each.left for each in running)
        now += steps * sum(seconds * count for seconds, count in zip(round_, calls.values(), strict=True) if seconds)
        for each in running:
            each.left -= steps
            if each.left <= 0:
                done[each.item] = now
                played.discard(each)
    return done
