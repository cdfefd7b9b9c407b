"""The choice of a replica for a request. No tensors, no clock, no network."""

import random
from collections.abc import Collection, Sequence
from typing import Final, Protocol, TypeVar

from diffusion.serving.latency import Shape

# The share that each further shape adds to the time a replica takes for its queue. A call of r rows takes a + b r seconds. If
# n shapes share ``max_rows``, there are n calls instead of one, and each further call adds a / (a + b max_rows).
SHAPE_SWITCH_COST: Final = 0.2
# How much longer, as a share, a request may wait for a replica that already steps its shape: elsewhere the shapes would have
# to take turns. The best of the values tried on simulated peak hours (``benchmarks.capacity``).
AFFINITY_SLACK: Final = 0.5

Key = tuple[str, Shape]  # the model and the shape of the latents: images of one key share network calls


class ReplicaLoad(Protocol):
    """One of several engines that serve the model of a request.

    ``queued`` is the price in seconds of what is left of the images that wait or run there. ``keys`` are those that it steps
    at present.
    """

    @property
    def queued(self) -> float: ...  # noqa: D102
    @property
    def keys(self) -> Collection[Key]: ...  # noqa: D102


R = TypeVar("R", bound=ReplicaLoad)


def choose(replicas: Sequence[R], key: Key, rng: random.Random) -> R:
    """Choose a replica for a request of ``key``.

    All ``replicas`` serve its model. Two candidates are drawn from all replicas (Mitzenmacher 2001, "The power of two choices
    in randomized load balancing") and two from those that step ``key`` already. The shortest `wait` wins; a candidate that
    does not step ``key`` counts as `AFFINITY_SLACK` longer, and of equals the one that does wins. Comparing only few keeps
    simultaneous requests, routed by equally old figures, from all going to the replica that was emptiest. Raises `ValueError`
    if ``replicas`` is empty.
    """
    if not replicas:
        raise ValueError("no replica can serve the request")
    same_shape = [replica for replica in replicas if key in replica.keys]
    drawn = [*_two(same_shape, rng), *_two(replicas, rng)]  # `same_shape` first: of equals, `min` returns the first
    return min(drawn, key=lambda replica: wait(replica, key) * (1 if key in replica.keys else 1 + AFFINITY_SLACK))


def wait(replica: ReplicaLoad, key: Key) -> float:
    """Return the expected wait of a request of ``key``, in seconds.

    Work takes longer if more shapes take turns.
    """
    return replica.queued * (1 + SHAPE_SWITCH_COST * (len({*replica.keys, key}) - 1))


def _two(replicas: Sequence[R], rng: random.Random) -> list[R]:
    return rng.sample(replicas, min(2, len(replicas)))
