"""A model of the time of network calls, fitted to measured steps.

It uses neither tensors nor a clock.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from diffusion.serving.batcher import Batcher, Item

DECAY: Final = 0.95  # each new step multiplies the weight of earlier ones by this
SATURATION: Final = 0.85  # of the throughput (rows per second) that ever larger calls tend to

Shape = tuple[int, ...]


class Pending(Item, Protocol):
    """One image with a known shape."""

    @property
    def shape(self) -> Shape: ...  # noqa: D102


T = TypeVar("T", bound=Pending)


class DecayingLinearFit:
    """A least-squares line through points (x, y) in which older points count less."""

    def __init__(self) -> None:
        self.n = self.x = self.y = self.xx = self.xy = 0.0

    def add(self, x: float, y: float) -> None:
        """Add a point."""
        self.n = DECAY * self.n + 1
        self.x = DECAY * self.x + x
        self.y = DECAY * self.y + y
        self.xx = DECAY * self.xx + x * x
        self.xy = DECAY * self.xy + x * y

    @property
    def slope(self) -> float | None:
        """The slope, from 0 to proportional; None while all points have the same x."""
        spread = self.n * self.xx - self.x**2
        if spread < 1e-3 * self.x**2:
            return None
        return min(max((self.n * self.xy - self.x * self.y) / spread, 0.0), self.y / self.x)

    def at(self, x: float) -> float:
        """Return y at ``x``; proportional to it while all points have the same x."""
        slope = self.y / self.x if self.slope is None else self.slope
        return (self.y - slope * self.x) / self.n + slope * x

    def saturation_rows(self, share: float) -> float | None:
        """Return the x at which x / y reaches a ``share`` of its limit, None if unknown."""
        slope = self.slope
        if slope is None:
            return None
        if slope == 0:
            return math.inf
        return share / (1 - share) * (self.y - slope * self.x) / self.n / slope


class LatencyModel:
    """Predicts the seconds of a network call from its latents' shape and its rows."""

    def __init__(self) -> None:
        self._fits: dict[Shape, DecayingLinearFit | None] = {}

    def observe(self, shape: Shape, rows: int, seconds: float) -> None:
        """Record the seconds of a call.

        The first call of each shape is ignored, because it warms the device up.
        """
        if shape not in self._fits:
            self._fits[shape] = None
            return
        fit = self._fits[shape] = self._fits[shape] or DecayingLinearFit()
        fit.add(rows, seconds)

    def seconds(self, shape: Shape, rows: int) -> float | None:
        """Predict the seconds of a call; None before any was recorded.

        An unknown shape uses the one nearest in size.
        """
        known = {other: fit for other, fit in self._fits.items() if fit}
        if not known:
            return None
        cells = math.prod(shape)
        nearest = shape if shape in known else min(known, key=lambda other: abs(math.log(math.prod(other) / cells)))
        return known[nearest].at(rows) * cells / math.prod(nearest)

    def saturation_rows(self) -> float | None:
        """Return the rows at which throughput saturates, the largest of all shapes.

        It saturates at `SATURATION` of its limit.
        """
        saturated = [rows for fit in self._fits.values() if fit and (rows := fit.saturation_rows(SATURATION)) is not None]
        return max(saturated, default=None)


@dataclass(eq=False)
class _SimulatedItem(Generic[T]):
    """Stands for an image in the simulation."""

    item: T
    owner: Hashable
    shape: Shape
    rows: int
    left: int


def estimate_completion(batcher: Batcher[T], latency: LatencyModel) -> dict[T, float | None]:
    """Simulate ``batcher`` and return the seconds until each image is done.

    The seconds are None while the speed is unknown. Running images come first, then the others in the order of their
    admission.
    """
    simulated = batcher.copy(lambda item: _SimulatedItem(item, item.owner, item.shape, item.rows, item.left))
    done: dict[T, float | None] = dict.fromkeys([*batcher.running(), *batcher.waiting()])
    now = 0.0
    while len(simulated):
        simulated.admit()
        running = list(simulated.running())
        rows_of: dict[Shape, int] = {}
        for each in running:
            rows_of[each.shape] = rows_of.get(each.shape, 0) + each.rows
        # More rows than a call may have take several calls.
        calls = {shape: max(1.0, rows / simulated.max_rows) for shape, rows in rows_of.items()}
        seconds_of_calls = [latency.seconds(shape, round(rows / calls[shape])) for shape, rows in rows_of.items()]
        if not running or None in seconds_of_calls:
            return done
        steps = min(each.left for each in running)
        now += steps * sum(seconds * count for seconds, count in zip(seconds_of_calls, calls.values(), strict=True) if seconds)
        for each in running:
            each.left -= steps
            if each.left <= 0:
                done[each.item] = now
                simulated.discard(each)
    return done
