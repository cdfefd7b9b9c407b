"""Measure how fair turns are: ``python -m benchmarks.capacity.fairness``.

One simulated H200 (`costs`) serves members who all keep more work waiting than it can draw. Every second one sends short
requests for small pictures, the others long ones for four large pictures. The output is the time that the member with the most
got, over the mean of all.
"""

import argparse
from collections import defaultdict
from collections.abc import Hashable
from statistics import fmean
from typing import Final

import simpy

from benchmarks.capacity.costs import H200, latency_model
from benchmarks.capacity.plan import latent_shape
from benchmarks.capacity.simulation import BatchingGpu, CachedPrices, ServedRequest
from benchmarks.capacity.trace import Arrival
from diffusion.request import ImageRequest

SHORT: Final = ImageRequest("red apple", width=512, height=512, steps=10, sampler="ddim")
LONG: Final = ImageRequest("red apple", width=768, height=768, steps=50, sampler="ddim", count=4)
REQUESTS_EACH: Final = 200


def largest_share(members: int, seconds: float) -> float:
    """Return the most time that one of ``members`` got within ``seconds``, over the mean of all.

    Raises `ValueError` if one runs out of work.
    """
    env = simpy.Environment()
    prices = CachedPrices(latency_model(H200))
    gpu = BatchingGpu(env, prices, None)
    pictures = []
    for _ in range(REQUESTS_EACH):
        for member in range(members):
            request = SHORT if member % 2 else LONG
            served = ServedRequest(Arrival(0.0, member, request), latent_shape(request.width, request.height))
            gpu.take(served.pictures)
            pictures += [(picture, picture.left) for picture in served.pictures]
    env.run(until=seconds)
    time: dict[Hashable, float] = defaultdict(float)
    for picture, calls in pictures:
        time[picture.owner] += prices.row(picture.shape) * picture.rows * (calls - picture.left)
    if len({picture.owner for picture, _ in pictures if picture.left}) < members:
        raise ValueError("a member ran out of work: choose fewer seconds")
    return max(time.values()) / fmean(time.values())


def main() -> None:
    """Simulate with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.capacity.fairness", description=__doc__)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    share = largest_share(options.members, options.seconds)
    print(f"the one of {options.members} members with the most got {share:.2f} of a fair share in {options.seconds:g} s")


if __name__ == "__main__":
    main()
