"""The price of a request: the seconds for which it occupies the engine.

Everything that compares requests compares these prices: turns, the queue, limits and allowances. It uses neither tensors nor a
clock, so a bot whose engine is elsewhere computes them too.
"""

import math
from dataclasses import dataclass
from typing import Self

from diffusion.families.spec import ModelSpec
from diffusion.request import ImageRequest
from diffusion.serving.latency import LatencyModel, Shape

TYPICAL_ROWS = 8  # of a network call: a picture pays its share of such a call
ASSUMED_SECONDS_PER_VALUE = 2.5e-6  # of a row's latents, before any call was measured
INITIAL_ROWS = 16  # of a network call, before its optimum was measured, and the bounds of that
MIN_ROWS = 2
MAX_ROWS = 64


@dataclass(frozen=True)
class Work:
    """``rows`` of network calls of ``shape``, as `ModelSpec.call_shape` has it, over all calls and images."""

    shape: Shape
    rows: float

    @classmethod
    def of(cls, request: ImageRequest, model: ModelSpec) -> Self:
        """Return the work of all images of ``request``.

        An image takes one row a call, and another one in each call that computes guidance.
        """
        first, end = request.guidance_interval
        rows_per_call = 1 + (model.rows(request) - 1) * (end - first) / request.computes_guidance_every
        rows = request.count * model.evaluations(request) * rows_per_call
        return cls(model.call_shape(request), rows)


class Prices:
    """Turns work to seconds by what ``latency`` has measured so far."""

    def __init__(self, latency: LatencyModel) -> None:
        self.latency = latency

    def call(self, shape: Shape, rows: int) -> float:
        """Return the seconds of one network call with ``rows``."""
        seconds = self.latency.seconds(shape, rows)
        return rows * math.prod(shape) * ASSUMED_SECONDS_PER_VALUE if seconds is None else seconds

    def row(self, shape: Shape) -> float:
        """Return the share of a row in the seconds of a call with `TYPICAL_ROWS`."""
        return self.call(shape, TYPICAL_ROWS) / TYPICAL_ROWS

    def useful_rows(self, shape: Shape) -> int:
        """Return the most rows of a call for which it is worth waiting: where throughput hardly grows with more."""
        rows = self.latency.saturation_rows(shape)
        return INITIAL_ROWS if rows is None else round(min(max(rows, MIN_ROWS), MAX_ROWS))

    def price(self, work: Work) -> float:
        """Return the seconds of ``work``."""
        return work.rows * self.row(work.shape)
