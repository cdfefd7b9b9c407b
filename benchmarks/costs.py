"""What a call of the UNet takes on a GPU, by the shape of the latents and its rows; figures of another GPU go beside these."""

from dataclasses import dataclass
from typing import Final

from diffusion.pace import Pace, Shape

ROW_CALLS: Final = 48  # rows x evaluations of a picture, on average over a trace


@dataclass(frozen=True)
class Cost:
    """Milliseconds: ``calls`` of the UNet by their rows, and all that a ``picture`` needs besides (its text, the decoder)."""

    calls: dict[int, float]
    picture: float


# Stable Diffusion 1 on an H200 in bfloat16. ESTIMATED, not measured: torch counts 0.80, 1.30 and 2.15 TFLOP a row at 512x512,
# 512x768 and 768x768; of the 790 TFLOP/s that the card does at best, 20 % were taken for 2 rows of the first and 45 % for 16,
# which gives 6.4 ms a call and 1.85 ms a row; that of other shapes is in the proportion of their TFLOP.
H200: Final[dict[Shape, Cost]] = {
    (1, 4, 64, 64): Cost({2: 10.1, 16: 36.0}, picture=15.0),
    (1, 4, 64, 96): Cost({2: 12.4, 16: 54.1}, picture=24.0),
    (1, 4, 96, 64): Cost({2: 12.4, 16: 54.1}, picture=24.0),
    (1, 4, 96, 96): Cost({2: 16.3, 16: 85.6}, picture=40.0),
}


def pace_of(costs: dict[Shape, Cost]) -> Pace:
    """Give a `Pace` as an engine would learn it, with what a picture needs besides spread over its calls."""
    pace = Pace()
    for shape, cost in costs.items():
        points = [(rows, (call + cost.picture * rows / ROW_CALLS) / 1000) for rows, call in cost.calls.items()]
        for rows, seconds in [points[0], *points]:  # a pace ignores the first
            pace.learn(shape, rows, seconds)
    return pace
