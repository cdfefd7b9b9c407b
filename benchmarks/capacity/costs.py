"""Measured times of UNet calls on a GPU, by the shape and the rows of the latents."""

from dataclasses import dataclass
from typing import Final

from diffusion.serving.latency import LatencyModel, Shape

ROW_CALLS_PER_PICTURE: Final = 48  # rows x evaluations of a picture, the mean of a trace


@dataclass(frozen=True)
class Cost:
    """The milliseconds of UNet calls and of everything else a picture needs.

    ``call_ms`` is by rows of the call; ``picture_ms`` is the time of the text encoder and the decoder.
    """

    call_ms: dict[int, float]
    picture_ms: float


# Stable Diffusion 1 on an H200 in bfloat16. A call at 512x512 was measured (`benchmarks.limit --shape sd1`): 6.5 ms and
# 2.63 ms per row. Other shapes, and the rest of each picture, are ESTIMATED in proportion to their operations: torch counts
# 0.80, 1.30 and 2.15 TFLOP per row at 512x512, 512x768 and 768x768.
H200: Final[dict[Shape, Cost]] = {
    (1, 4, 64, 64): Cost({2: 11.8, 16: 48.6}, picture_ms=15.0),
    (1, 4, 64, 96): Cost({2: 15.1, 16: 74.9}, picture_ms=24.0),
    (1, 4, 96, 64): Cost({2: 15.1, 16: 74.9}, picture_ms=24.0),
    (1, 4, 96, 96): Cost({2: 20.7, 16: 119.6}, picture_ms=40.0),
}


def latency_model(costs: dict[Shape, Cost]) -> LatencyModel:
    """Return the `LatencyModel` that an engine would learn from ``costs``.

    The rest of a picture is spread over its calls.
    """
    latency = LatencyModel()
    for shape, cost in costs.items():
        points = [(rows, (ms + cost.picture_ms * rows / ROW_CALLS_PER_PICTURE) / 1000) for rows, ms in cost.call_ms.items()]
        for rows, seconds in [points[0], *points]:  # a LatencyModel ignores the first call of a shape
            latency.observe(shape, rows, seconds)
    return latency
