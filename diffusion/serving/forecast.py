"""The forecast: simulate the batcher to estimate when each image will be done.

It uses neither tensors nor a clock.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from diffusion.serving.batcher import Batcher, Item, shares
from diffusion.serving.latency import LatencyModel, Shape

T = TypeVar("T", bound=Item)
SMALLEST_PART: Final = 1e-6  # of a step: what is left over by rounding


@dataclass(eq=False)
class _SimulatedItem(Generic[T]):
    """Stands for an image in the simulation."""

    item: T
    owner: Hashable
    group: Hashable
    shape: Shape
    rows: int
    left: float


def estimate_completion(batcher: Batcher[T], latency: LatencyModel) -> dict[T, float | None]:
    """Simulate ``batcher`` and return the seconds until each image is done.

    The seconds are None while the speed is unknown. Running images come first, then the others in the order of their
    admission. Groups advance side by side, each by its share of the time.
    """
    simulated = batcher.copy(lambda item: _SimulatedItem(item, item.owner, item.group, item.shape, item.rows, item.left))
    done: dict[T, float | None] = dict.fromkeys([*batcher.running(), *batcher.waiting()])
    now = 0.0
    while len(simulated):
        simulated.admit()
        groups = simulated.groups()
        share = shares(groups)
        step_seconds: dict[Hashable, float] = {}
        for group, items in groups.items():
            shape = items[0].shape
            rows = sum(each.rows for each in items)
            calls = max(1.0, rows / simulated.call_rows(shape))  # more rows than a call may have take several
            seconds = latency.seconds(shape, round(rows / calls))
            if seconds is None:
                return done
            step_seconds[group] = seconds * calls * sum(share.values()) / share[group]
        if not groups:
            return done
        passed = min(step_seconds[group] * min(each.left for each in items) for group, items in groups.items())
        now += passed
        for each in list(simulated.running()):
            each.left -= passed / step_seconds[each.group]
            if each.left < SMALLEST_PART:
                done[each.item] = now
                simulated.discard(each)
    return done
