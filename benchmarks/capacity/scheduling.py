"""Compare the bot's scheduling with first in, first out: ``python -m benchmarks.capacity.scheduling``.

One simulated GPU serves short requests, of 10 steps, beside long ones, of 50, in three sizes, nearly as fast as they come. The
output is how long 95 % of the short ones take, and what share of the time the member with the most got while all members kept
more work waiting than could be drawn.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

import simpy

from benchmarks.capacity.costs import H200, latency_model
from benchmarks.capacity.plan import latent_shape, minimum_gpus
from benchmarks.capacity.simulation import (
    FIFO,
    ROUTING_BATCHING,
    BatchingGpu,
    CachedPrices,
    ServedRequest,
    Way,
    simulate,
)
from benchmarks.capacity.trace import Arrival
from diffusion.request import ImageRequest

SHORT_STEPS = 10
LONG_STEPS = 50
SHORT_SHARE = 0.5  # of the requests
SIZES = {(512, 512): 75, (512, 768): 10, (768, 512): 10, (768, 768): 5}  # with their weights
OWNERS = 40
MAX_ROWS = 16
BUSY_OWNERS = 8  # of the test of fairness, each with other habits
BUSY_SECONDS = 60.0
REQUESTS_EACH = 200  # more than can be drawn in that time


@dataclass(frozen=True)
class Scheduling:
    """The seconds within which 95 % of the short requests are done, and the most that a member got, over a fair share."""

    fifo: float
    batching: float
    largest_share: float


def draw_trace(count: int, load: float, seed: int) -> list[Arrival]:
    """Draw ``count`` requests that come as a Poisson process and keep a batching GPU busy for ``load`` of the time."""
    rng = random.Random(seed)
    requests = []
    for _ in range(count):
        (width, height), *_ = rng.choices([*SIZES], [*SIZES.values()])
        steps = SHORT_STEPS if rng.random() < SHORT_SHARE else LONG_STEPS
        requests.append(_request(width, height, steps))
    one_a_second = [Arrival(float(at), "", request) for at, request in enumerate(requests)]
    rate = load / minimum_gpus(one_a_second, ROUTING_BATCHING, latency_model(H200), MAX_ROWS)
    at = 0.0
    arrivals = []
    for request in requests:
        at += rng.expovariate(rate)
        arrivals.append(Arrival(at, rng.randrange(OWNERS), request))
    return arrivals


def p95_of_short(served: Sequence[ServedRequest]) -> float:
    """Return the seconds within which 95 % of the short requests have all their pictures."""
    waits = [each.total_wait for each in served if each.arrival.request.steps == SHORT_STEPS]
    return quantiles(waits, n=20)[-1]


def largest_share() -> float:
    """Return the most seconds of the GPU that one of busy members got, over the mean of all.

    Every second one sends short requests for small pictures, the others long ones for large pictures, several at once.
    """
    env = simpy.Environment()
    prices = CachedPrices(latency_model(H200))
    gpu = BatchingGpu(env, prices, MAX_ROWS)
    pictures = []
    for _ in range(REQUESTS_EACH):
        for owner in range(BUSY_OWNERS):
            request = _request(512, 512, SHORT_STEPS) if owner % 2 else _request(768, 768, LONG_STEPS).replace(count=4)
            served = ServedRequest(Arrival(0.0, owner, request), latent_shape(request.width, request.height))
            gpu.take(served.pictures)
            pictures += [(picture, picture.left) for picture in served.pictures]
    env.run(until=BUSY_SECONDS)
    seconds: dict[Hashable, float] = defaultdict(float)
    for picture, calls in pictures:
        seconds[picture.owner] += prices.row(picture.shape) * picture.rows * (calls - picture.left)
    unfinished = {picture.owner for picture, _ in pictures if picture.left}
    assert len(unfinished) == BUSY_OWNERS, "a member ran out of work"
    return max(seconds.values()) / fmean(seconds.values())


def measure(count: int, load: float, seed: int) -> Scheduling:
    """Serve one trace both ways."""
    trace = draw_trace(count, load, seed)

    def p95(way: Way) -> float:
        return p95_of_short(simulate(trace, way, 1, latency_model(H200), latent_shape, MAX_ROWS))

    return Scheduling(p95(FIFO), p95(ROUTING_BATCHING), largest_share())


def _request(width: int, height: int, steps: int) -> ImageRequest:
    return ImageRequest("red apple", width=width, height=height, steps=steps, sampler="ddim")


def main() -> None:
    """Simulate with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.capacity.scheduling", description=__doc__)
    parser.add_argument("--count", type=int, default=600, help="requests")
    parser.add_argument("--load", type=float, default=0.95, help="of what the GPU can compute in full calls")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    measured = measure(options.count, options.load, options.seed)
    print(f"95 % of the short requests: {measured.batching:.1f} s, first in, first out {measured.fifo:.1f} s", end="")
    print(f", {measured.batching / measured.fifo:.3f} of it")
    print(f"the member with the most got {measured.largest_share:.2f} of a fair share")


if __name__ == "__main__":
    main()
