"""Measure the error of time estimates: ``python -m benchmarks.forecast``.

Members send requests for different numbers of pictures, steps and sizes at once, more than fit into a step. The estimate of
each unfinished request is recorded every second and compared with the time at which the request ended.
"""

import argparse
import asyncio
import time
from statistics import median, quantiles

from diffusion import Engine, EngineConfig, load_model
from diffusion.serving.job import Job

SAMPLE_SECONDS = 1.0
MIN_SECONDS_LEFT = 2.0  # nobody needs an estimate of a shorter wait


async def record_forecasts(engine: Engine, forecasts: list[tuple[Job, float, float]]) -> None:
    """Append (job, now, estimated end) for each unfinished job, every second."""
    while True:
        await asyncio.sleep(SAMPLE_SECONDS)
        now = time.perf_counter()
        forecasts.extend(
            (job, now, now + seconds_left)
            for job, seconds_left in engine.estimate_completion().items()
            if seconds_left is not None
        )


async def measure(members: int, max_rows: int, model_id: str | None) -> None:
    """Send two requests for each of ``members`` and print the errors of the estimates."""
    model = load_model(model_id)
    side = model.sample_side
    grid = model.grid
    ended: dict[Job, float] = {}
    forecasts: list[tuple[Job, float, float]] = []

    async def wait(job: Job) -> None:
        await job
        ended[job] = time.perf_counter()

    async with Engine(model, EngineConfig(max_rows=max_rows)) as engine:
        recorder = asyncio.create_task(record_forecasts(engine, forecasts))
        sizes = [side, side, side, side * 3 // 2 // grid * grid]
        requests = [
            model.request("red apple", steps=10 + 5 * (number % 3), width=sizes[number % 4], count=1 + number % 2)
            for number in range(2 * members)
        ]
        jobs = [engine.submit(request, number % members) for number, request in enumerate(requests)]
        started = time.perf_counter()
        await asyncio.gather(*map(wait, jobs))
        recorder.cancel()
    print(f"{len(jobs)} requests of {members} members in {time.perf_counter() - started:.0f} s, {max_rows} rows a step")
    errors = [
        (abs(expected_end - ended[job]), ended[job] - now)
        for job, now, expected_end in forecasts
        if ended[job] - now >= MIN_SECONDS_LEFT
    ]
    shares = [error / seconds_left for error, seconds_left in errors]
    print(f"{len(errors)} estimates of waits of at least {MIN_SECONDS_LEFT:g} s")
    print(f"off by {median(error for error, _ in errors):.1f} s (median), {max(error for error, _ in errors):.1f} s (most)")
    print(f"that is {median(shares):.0%} of the time left (median), {quantiles(shares, n=10)[8]:.0%} (9 of 10)")


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.forecast", description=__doc__)
    parser.add_argument("--members", type=int, default=6)
    parser.add_argument("--max-rows", type=int, default=8)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    asyncio.run(measure(options.members, options.max_rows, options.model))


if __name__ == "__main__":
    main()
