"""What a call of the UNet takes on a GPU, by the shape of the latents and its rows; figures of another GPU go beside these."""

from dataclasses import dataclass
from typing import Final

from diffusion.serving.latency import LatencyModel, Shape

ROW_CALLS: Final = 48  # rows x evaluations of a picture, on average over a trace


@dataclass(frozen=True)
class Cost:
    """Milliseconds: ``calls`` of the UNet by their rows, and all that a ``picture`` needs besides (its text, the decoder)."""

    calls: dict[int, float]
    picture: float


# Stable Diffusion 1 on an H200 in bfloat16. At 512x512 a call was measured (`benchmarks.limit --shape sd1`): 6.5 ms and 2.63 ms
# a row. Other shapes are ESTIMATED in proportion to their operations, of which torch counts 0.80, 1.30 and 2.15 TFLOP a row at
# 512x512, 512x768 and 768x768, and so is what a picture needs besides.
H200: Final[dict[Shape, Cost]] = {
    (1, 4, 64, 64): Cost({2: 11.8, 16: 48.6}, picture=15.0),
    (1, 4, 64, 96): Cost({2: 15.1, 16: 74.9}, picture=24.0),
    (1, 4, 96, 64): Cost({2: 15.1, 16: 74.9}, picture=24.0),
    (1, 4, 96, 96): Cost({2: 20.7, 16: 119.6}, picture=40.0),
}


def pace_of(costs: dict[Shape, Cost]) -> LatencyModel:
    """Return a `LatencyModel` as an engine would learn it, with what a picture needs besides spread over its calls."""
    pace = LatencyModel()
    for shape, cost in costs.items():
        points = [(rows, (call + cost.picture * rows / ROW_CALLS) / 1000) for rows, call in cost.calls.items()]
        for rows, seconds in [points[0], *points]:  # a pace ignores the first
            pace.observe(shape, rows, seconds)
    return pace
