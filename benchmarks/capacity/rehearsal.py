"""Compare simulation and engine: ``python -m benchmarks.capacity.rehearsal``.

The engine serves a part of the day of a small community in real time, and a simulated GPU serves the same trace. The simulation
uses the call times of other pictures of the same sizes, which the engine draws before and after the trace, because the speed of
the machine may change meanwhile.
"""

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks.capacity.simulation import ROUTING_BATCHING, simulate
from benchmarks.capacity.trace import HOUR_SECONDS, PEAK_HOUR, SIZE_WEIGHTS, Arrival, Community
from diffusion import Engine, EngineConfig, load_model
from diffusion.families.model import ImageModel
from diffusion.serving.latency import LatencyModel, Shape

MEAN_EVALUATIONS = 25  # of a picture, both in a trace and in the timed pictures
MAX_ROWS = 16  # of a network call
CallTimings = dict[Shape, list[dict[int, list[float]]]]  # the seconds of calls by rows, for each round


@dataclass(frozen=True)
class Play:
    """The times of a served trace in seconds.

    ``start_delays`` and ``waits`` are the delays of each request until its first step and until all its pictures.
    ``makespan`` is the end of the last request.
    """

    start_delays: list[float]
    waits: list[float]
    makespan: float

    def figures(self) -> dict[str, float]:
        """Return the median and 95th percentile of the delays, and the makespan."""
        start = quantiles(self.start_delays, n=20)
        total = quantiles(self.waits, n=20)
        return {
            "first step, median": start[9],
            "first step, 95 %": start[18],
            "all pictures, median": total[9],
            "all pictures, 95 %": total[18],
            "end of the last": self.makespan,
        }


async def time_calls(engine: Engine, timings: CallTimings) -> None:
    """Time network calls of every number of rows, for each size of picture.

    Pictures with more and more steps leave the batch one after another, so that the rows fall from the most to two.
    """
    pictures = max(1, (engine.config.max_rows or MAX_ROWS) // 2)
    step_unit = round(2 * MEAN_EVALUATIONS / (pictures + 1))
    for width, height in ((round(share * engine.model.sample_side) for share in size) for size in SIZE_WEIGHTS):
        rounds = timings[engine.model.latent_shape(width, height)]
        rounds.append(defaultdict(list))
        engine.watchers = [lambda step, timing=rounds[-1]: timing[step.rows].append(step.seconds)]  # type: ignore[misc]
        requests = [
            engine.model.request(
                "red apple", width=width, height=height, steps=step_unit * (number + 1), guidance_interval=(0, 1), upscale=1
            )
            for number in range(pictures)
        ]
        await asyncio.gather(*(engine.submit(request, number) for number, request in enumerate(requests)))
    engine.watchers = []


def fit_latency(timings: CallTimings) -> LatencyModel:
    """Fit a latency model to all rounds of each shape but the first, which warmed up.

    A call counts as the median of the calls with its rows. The time above the medians is the start and end of pictures; it is
    spread over the evaluations of a picture, because timed pictures end in quicker succession than those of a trace.
    """
    latency = LatencyModel()
    for shape, (_, *rounds) in timings.items():
        seconds = {rows: [each for timing in rounds for each in timing[rows]] for rows in sorted(rounds[0])}
        calls = {rows: median(each) for rows, each in seconds.items()}
        pictures = len(rounds) * max(calls) / 2
        rest_seconds = sum(sum(each) - len(each) * calls[rows] for rows, each in seconds.items()) / pictures
        latency.observe(shape, 1, 0.0)  # a LatencyModel ignores the first call of a shape
        for rows, call in calls.items():
            latency.observe(shape, rows, call + rest_seconds * rows / 2 / MEAN_EVALUATIONS)
    return latency


async def play_engine(engine: Engine, trace: Sequence[Arrival]) -> Play:
    """Submit each request to ``engine`` at its time in ``trace``."""
    started = time.perf_counter()

    async def wait_for(arrival: Arrival) -> tuple[float, float]:
        await asyncio.sleep(arrival.at - trace[0].at - (time.perf_counter() - started))
        now = time.perf_counter()
        job = engine.submit(arrival.request, arrival.owner)
        await job
        return (job.started or now) - now, time.perf_counter() - now

    start_delays, waits = zip(*await asyncio.gather(*map(wait_for, trace)), strict=True)
    return Play([*start_delays], [*waits], time.perf_counter() - started)


def play_simulation(trace: Sequence[Arrival], latency: LatencyModel, model: ImageModel, max_rows: int) -> Play:
    """Serve ``trace`` in simulated time."""
    served = simulate(trace, ROUTING_BATCHING, 1, latency, model.latent_shape, max_rows)
    ends = [each.arrival.at + each.total_wait for each in served]
    return Play([each.start_delay for each in served], [each.total_wait for each in served], max(ends) - trace[0].at)


async def rehearse(model: ImageModel, trace: Sequence[Arrival], max_rows: int) -> tuple[Play, Play]:
    """Serve ``trace`` with the engine and with the simulation."""
    timings: CallTimings = defaultdict(list)
    async with Engine(model, EngineConfig(max_rows=max_rows, max_waiting=100_000)) as engine:
        await time_calls(engine, timings)
        await time_calls(engine, timings)
        engine_play = await play_engine(engine, trace)
        await time_calls(engine, timings)
    return engine_play, play_simulation(trace, fit_latency(timings), model, max_rows)


def measure(members: int, seconds: float, seed: int, max_rows: int, model_id: str | None) -> None:
    """Rehearse a part of the peak hour and print both results side by side."""
    model = load_model(model_id)
    community = Community(members, model.sample_side, model.latent_factor, seed)
    trace = list(community.trace(PEAK_HOUR, PEAK_HOUR + seconds / HOUR_SECONDS))
    engine_figures, simulated_figures = (play.figures() for play in asyncio.run(rehearse(model, trace, max_rows)))
    pictures = sum(arrival.request.count for arrival in trace)
    print(f"{model.name}, {model.dtype}, {model.device}, {max_rows} rows a step:", end=" ")
    print(f"{len(trace)} requests for {pictures} pictures in {seconds:g} s")
    print(f"{'':22} {'engine':>10} {'simulation':>12} {'ratio':>7}")
    for name, value in engine_figures.items():
        print(f"{name:22} {value:8.2f} s {simulated_figures[name]:10.2f} s {simulated_figures[name] / value:7.2f}")


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.capacity.rehearsal", description=__doc__)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=75)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-rows", type=int, default=MAX_ROWS)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    measure(options.members, options.seconds, options.seed, options.max_rows, options.model)


if __name__ == "__main__":
    main()
