"""A model of the time of network calls, fitted to measured steps.

It uses neither tensors nor a clock.
"""

import math
from typing import Final, NamedTuple

RATE: Final = 0.1  # at which the known seconds of a number of rows move to those of a new call
DECAY: Final = 0.98  # each new step multiplies the weight of other numbers of rows by this
FORGOTTEN: Final = 0.05  # the weight below which a number of rows is unknown again, so that it is tried again
SATURATION: Final = 0.92  # of the throughput (rows per second) that ever larger calls tend to: best of `benchmarks.capacity`

Shape = tuple[int, ...]  # of the latents of a network call; calls of other kinds have another number of dimensions


def decoding_shape(width: int, height: int) -> Shape:
    """Return the shape of a call that decodes latents to pictures of ``width`` x ``height`` pixels."""
    return (3, height, width)


def is_decoding(shape: Shape) -> bool:
    """Whether ``shape`` is one of `decoding_shape`."""
    return len(shape) == 3


class Step(NamedTuple):
    """One step of an engine, with its latents' shape, rows and seconds."""

    shape: Shape
    rows: int
    seconds: float


class DecayingLinearFit:
    """A least-squares line through one point (x, y) for each x, its recent y; points that do not come again count less.

    So an x that comes often does not outweigh all others.
    """

    def __init__(self) -> None:
        self._points: dict[float, tuple[float, float]] = {}  # y and weight by x
        self.n = self.x = self.y = self.xx = self.xy = 0.0

    def add(self, x: float, y: float) -> None:
        """Add a point."""
        known, _ = self._points.get(x, (y, 0.0))
        decayed = {other: (its_y, DECAY * weight) for other, (its_y, weight) in self._points.items() if weight >= FORGOTTEN}
        self._points = decayed | {x: (known + RATE * (y - known), 1.0)}
        points = [(x, y, weight) for x, (y, weight) in self._points.items()]
        self.n = sum(weight for _, _, weight in points)
        self.x = sum(weight * x for x, _, weight in points)
        self.y = sum(weight * y for _, y, weight in points)
        self.xx = sum(weight * x * x for x, _, weight in points)
        self.xy = sum(weight * x * y for x, y, weight in points)

    @property
    def slope(self) -> float | None:
        """The slope, from 0 to proportional; None before there are points of which one has twice the x of another."""
        if not self._points or max(self._points) < 2 * min(self._points):  # y grows in steps, where rows are filled up
            return None
        spread = self.n * self.xx - self.x**2
        return min(max((self.n * self.xy - self.x * self.y) / spread, 0.0), self.y / self.x)

    def at(self, x: float) -> float:
        """Return y at ``x``; proportional to it while there is no slope."""
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

        An unknown shape uses the one nearest in size with as many dimensions.
        """
        nearest, fit = self._nearest(shape)
        return fit.at(rows) * math.prod(shape) / math.prod(nearest) if fit else None

    def saturation_rows(self, shape: Shape) -> float | None:
        """Return the rows at which the throughput of ``shape`` reaches `SATURATION` of its limit, None if unknown."""
        _, fit = self._nearest(shape)
        return fit.saturation_rows(SATURATION) if fit else None

    def _nearest(self, shape: Shape) -> tuple[Shape, DecayingLinearFit | None]:
        """Return the shape nearest in size that calls were recorded of, with their fit."""
        if fit := self._fits.get(shape):
            return shape, fit
        known = {other: fit for other, fit in self._fits.items() if fit and len(other) == len(shape)}
        if not known:
            return shape, None
        cells = math.prod(shape)
        nearest = min(known, key=lambda other: abs(math.log(math.prod(other) / cells)))
        return nearest, known[nearest]
