"""Which of several replicas a request goes to. No tensors, no clock, no network."""

import random
from collections.abc import Collection, Sequence
from typing import Final, Protocol, TypeVar

from diffusion.serving.latency import Shape

# What each further shape adds to the time in which a replica works off its queue: a call of r rows takes a + b r seconds, and
# where n shapes share ``max_rows`` there are n calls for one, which is a / (a + b max_rows) more for each.
SHAPE_SWITCH_COST: Final = 0.2
# How much longer a request may wait so that a shape is not brought to where others then must take turns with it: the best
# of those tried on simulated peak hours (``benchmarks.capacity``).
AFFINITY_SLACK: Final = 0.5

Key = tuple[str, Shape]  # the model and the shape of the latents: what can be stacked into one call of the network


class Replica(Protocol):
    """One of several engines that can serve the model of a request.

    ``queued`` is the rows of all calls of the network that are still to come: rows x evaluations left, summed over the images
    that wait or run there. ``keys`` are the pairs of model and latent shape that it steps at present.
    """

    @property
    def queued(self) -> float: ...  # noqa: D102
    @property
    def keys(self) -> Collection[Key]: ...  # noqa: D102


R = TypeVar("R", bound=Replica)


def choose(replicas: Sequence[R], key: Key, rng: random.Random) -> R:
    """Choose one of ``replicas`` for a request whose images are stacked as ``key``.

    It is that with the shortest `wait` of two that are drawn from all (Mitzenmacher 2001, "The power of two choices in
    randomized load balancing") and two from those that step ``key`` already, whose wait may be longer by the share `AFFINITY_SLACK`;
    of equals, one of the latter. More are not looked at, so that requests that are routed at the same time, by figures of the
    same age, do not all go to the one that was emptiest. Replicas that cannot serve the model do not belong here; raises
    `ValueError` where there is none.
    """
    if not replicas:
        raise ValueError("no replica can serve the request")
    same_shape = [replica for replica in replicas if key in replica.keys]
    drawn = [*_two(same_shape, rng), *_two(replicas, rng)]  # kin first: of equals, `min` gives the first
    return min(drawn, key=lambda replica: wait(replica, key) * (1 if key in replica.keys else 1 + AFFINITY_SLACK))


def wait(replica: Replica, key: Key) -> float:
    """Tell how long a request of ``key`` would wait: in queued rows, each of which takes longer the more shapes take turns."""
    return replica.queued * (1 + SHAPE_SWITCH_COST * (len({*replica.keys, key}) - 1))


def _two(replicas: Sequence[R], rng: random.Random) -> list[R]:
    return rng.sample(replicas, min(2, len(replicas)))
