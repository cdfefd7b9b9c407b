"""Which of several replicas a request goes to. No tensors, no clock, no network."""

import random
from collections.abc import Collection, Sequence
from typing import Final, Protocol, TypeVar

from diffusion.pace import Shape

# What a further shape adds to the time in which a replica's queue is worked off. A call of r rows takes a + b r seconds; where
# rows of two shapes share ``max_rows``, there are two calls for one, so a / (a + b max_rows) more.
TURN: Final = 0.2

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


def choose(replicas: Sequence[R], key: Key, chance: random.Random) -> R:
    """Choose one of ``replicas`` for a request whose images are stacked as ``key``.

    It is that with the shortest `wait` of two that are drawn from all (Mitzenmacher 2001, "The power of two choices in
    randomized load balancing") and two from those that step ``key`` already; of equals, one of the latter. More are not looked
    at, so that requests that are routed at the same time, by figures of the same age, do not all go to the one that was
    emptiest. Replicas that cannot serve the model do not belong here; raises `ValueError` where there is none.
    """
    if not replicas:
        raise ValueError("no replica can serve the request")
    kin = [replica for replica in replicas if key in replica.keys]
    drawn = [*_two(kin, chance), *_two(replicas, chance)]  # kin first: of equals, `min` gives the first
    return min(drawn, key=lambda replica: wait(replica, key))


def wait(replica: Replica, key: Key) -> float:
    """Tell how long a request of ``key`` would wait, in queued rows, of which each counts more where shapes will take turns."""
    return replica.queued if key in replica.keys else replica.queued * (1 + TURN)


def _two(replicas: Sequence[R], chance: random.Random) -> list[R]:
    return chance.sample(replicas, min(2, len(replicas)))
