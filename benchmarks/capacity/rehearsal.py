"""Whether the simulation tells the truth: one trace through the real engine and through a simulated GPU.

``python -m benchmarks.capacity.rehearsal`` plays a part of the day of a small community to the engine, in real time, and to the
simulation, with the pace of other pictures of the same sizes that the engine makes before and after, so that a machine that has
become slower or faster meanwhile counts as what it was in between.
"""

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks.capacity.simulation import ROUTING_BATCHING, simulate
from benchmarks.capacity.trace import HOUR, PEAK, SIZES, Asked, Community
from diffusion import Engine, EngineConfig, load_model
from diffusion.families.model import ImageModel
from diffusion.serving.latency import LatencyModel, Shape

EVALUATIONS = 25  # that pictures of a trace take on average, and so those that are timed
ROWS = 16  # of a call of the network, at most
Taken = dict[Shape, list[dict[int, list[float]]]]  # seconds of calls by their rows, for each round


@dataclass(frozen=True)
class Play:
    """How a trace went, in seconds: for each request the first step and all pictures, and the end of the last."""

    begun: list[float]
    waits: list[float]
    makespan: float

    def figures(self) -> dict[str, float]:
        """Sum it up."""
        first, whole = quantiles(self.begun, n=20), quantiles(self.waits, n=20)
        return {
            "first step, median": first[9],
            "first step, 95 %": first[18],
            "all pictures, median": whole[9],
            "all pictures, 95 %": whole[18],
            "end of the last": self.makespan,
        }


async def time_calls(engine: Engine, taken: Taken) -> None:
    """Note what calls of all numbers of rows take with latents of each size, by pictures that end one after another."""
    pictures = max(1, (engine.config.max_rows or ROWS) // 2)
    stage = round(2 * EVALUATIONS / (pictures + 1))
    for width, height in ((round(share * engine.model.sample_side) for share in size) for size in SIZES):
        rounds = taken[engine.model.latent_shape(width, height)]
        rounds.append(defaultdict(list))
        engine.watchers = [lambda rows, seconds, noted=rounds[-1]: noted[rows].append(seconds)]  # type: ignore[misc]
        requests = [
            engine.model.request(
                "red apple", width=width, height=height, steps=stage * (number + 1), guidance_interval=(0, 1), upscale=1
            )
            for number in range(pictures)
        ]
        await asyncio.gather(*(engine.submit(request, number) for number, request in enumerate(requests)))
    engine.watchers = []


def taught(taken: Taken) -> LatencyModel:
    """Return the pace by all but the first round of each shape, which warmed up.

    A call is worth the median of its like. What they took besides is what pictures need at their begin and at their end, and
    is spread over the evaluations of a picture: those that were timed end sooner after one another than those of a trace.
    """
    pace = LatencyModel()
    for shape, (_, *rounds) in taken.items():
        seconds = {rows: [each for noted in rounds for each in noted[rows]] for rows in sorted(rounds[0])}
        calls = {rows: median(each) for rows, each in seconds.items()}
        pictures = len(rounds) * max(calls) / 2
        besides = sum(sum(each) - len(each) * calls[rows] for rows, each in seconds.items()) / pictures
        pace.observe(shape, 1, 0.0)  # a pace ignores the first
        for rows, call in calls.items():
            pace.observe(shape, rows, call + besides * rows / 2 / EVALUATIONS)
    return pace


async def play(engine: Engine, trace: Sequence[Asked]) -> Play:
    """Send each request at its time, as from then on the engine has it."""
    began = time.perf_counter()

    async def one(asked: Asked) -> tuple[float, float]:
        await asyncio.sleep(asked.at - trace[0].at - (time.perf_counter() - began))
        now = time.perf_counter()
        job = engine.submit(asked.request, asked.owner)
        await job
        return (job.started or now) - now, time.perf_counter() - now

    begun, waits = zip(*await asyncio.gather(*map(one, trace)), strict=True)
    return Play([*begun], [*waits], time.perf_counter() - began)


def simulated(trace: Sequence[Asked], pace: LatencyModel, model: ImageModel, max_rows: int) -> Play:
    """Do the same in simulated time."""
    served = simulate(trace, ROUTING_BATCHING, 1, pace, model.latent_shape, max_rows)
    ends = [each.asked.at + each.wait for each in served]
    return Play([each.begun for each in served], [each.wait for each in served], max(ends) - trace[0].at)


async def rehearse(model: ImageModel, trace: Sequence[Asked], max_rows: int) -> tuple[Play, Play]:
    """Play ``trace`` to the engine and to the simulation."""
    taken: Taken = defaultdict(list)
    async with Engine(model, EngineConfig(max_rows=max_rows, max_waiting=100_000)) as engine:
        await time_calls(engine, taken)
        await time_calls(engine, taken)
        real = await play(engine, trace)
        await time_calls(engine, taken)
    return real, simulated(trace, taught(taken), model, max_rows)


def measure(members: int, seconds: float, seed: int, max_rows: int, model_id: str | None) -> None:
    """Rehearse and print both side by side."""
    model = load_model(model_id)
    community = Community(members, model.sample_side, model.latent_factor, seed)
    trace = list(community.trace(PEAK, PEAK + seconds / HOUR))
    real, told = (played.figures() for played in asyncio.run(rehearse(model, trace, max_rows)))
    pictures = sum(asked.request.count for asked in trace)
    print(f"{model.name}, {model.dtype}, {model.device}, {max_rows} rows a step:", end=" ")
    print(f"{len(trace)} requests for {pictures} pictures in {seconds:g} s")
    print(f"{'':22} {'engine':>10} {'simulation':>12} {'ratio':>7}")
    for name, value in real.items():
        print(f"{name:22} {value:8.2f} s {told[name]:10.2f} s {told[name] / value:7.2f}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.capacity.rehearsal", description=__doc__)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=75)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-rows", type=int, default=ROWS)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    measure(options.members, options.seconds, options.seed, options.max_rows, options.model)


if __name__ == "__main__":
    main()
