"""Measure how long requests wait at a load: ``python -m benchmarks.capacity.waits``.

One simulated H200 (`costs`) serves requests that arrive at random times, half of them of 10 steps and half of 50, of all
sizes of `trace`. A load of 1 is what a GPU serves whose calls are always full. FIFO draws one picture at a time, so it falls
behind at each of these loads.
"""

import argparse
import random
from collections.abc import Sequence
from statistics import fmean, quantiles
from typing import Final, NamedTuple

from benchmarks.capacity.costs import H200, latency_model
from benchmarks.capacity.plan import latent_shape, minimum_gpus
from benchmarks.capacity.simulation import FIFO, ROUTING_BATCHING, ServedRequest, simulate
from benchmarks.capacity.trace import SIZE_WEIGHTS, Arrival
from diffusion.request import ImageRequest
from diffusion.serving.latency import LatencyModel

SHORT_STEPS: Final = 10
LONG_STEPS: Final = 50
SIDE: Final = 512
FULL_ROWS: Final = 16  # of a call of a GPU that is busy


class Waits(NamedTuple):
    """The seconds from a request to its picture."""

    mean: float
    p95: float
    short_p95: float

    @classmethod
    def of(cls, served: Sequence[ServedRequest]) -> "Waits":
        """Compute the mean and 95th percentile of all ``served`` requests, and that of the short ones."""
        waits = [each.total_wait for each in served]
        short = [each.total_wait for each in served if each.arrival.request.steps == SHORT_STEPS]
        return cls(fmean(waits), quantiles(waits, n=20)[18], quantiles(short, n=20)[18])


def steady_trace(requests: int, load: float, latency: LatencyModel, *, members: int, seed: int = 0) -> list[Arrival]:
    """Return ``requests`` of ``members`` that arrive at a constant rate, which is a GPU's ``load``."""
    rng = random.Random(seed)
    sizes = rng.choices([*SIZE_WEIGHTS], [*SIZE_WEIGHTS.values()], k=requests)
    asked = [
        ImageRequest(
            "a fox",
            width=round(width * SIDE),
            height=round(height * SIDE),
            steps=rng.choice((SHORT_STEPS, LONG_STEPS)),
            guidance_scale=7.5,
            sampler="ddim",
        )
        for width, height in sizes
    ]
    at_once = [Arrival(float(number == requests - 1), None, request) for number, request in enumerate(asked)]  # in one second
    rate = load * requests / minimum_gpus(at_once, ROUTING_BATCHING, latency, FULL_ROWS)
    arrivals, now = [], 0.0
    for request in asked:
        now += rng.expovariate(rate)
        arrivals.append(Arrival(now, rng.randrange(members), request))
    return arrivals


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.capacity.waits", description=__doc__)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.6, 0.85, 0.95])
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    latency = latency_model(H200)
    print(f"{'load':>6} {'':22} {'mean':>8} {'p95':>8} {'p95 of 10 steps':>16}")
    for load in options.loads:
        trace = steady_trace(options.requests, load, latency, members=options.members, seed=options.seed)
        for way in (FIFO, ROUTING_BATCHING):
            waits = Waits.of(simulate(trace, way, 1, latency, latent_shape, max_rows=None))
            print(f"{load:6.2f} {way.name:22} {waits.mean:6.2f} s {waits.p95:6.2f} s {waits.short_p95:14.2f} s", flush=True)


if __name__ == "__main__":
    main()
