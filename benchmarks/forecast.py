"""How well the engine foresees when a request is done: ``python -m benchmarks.forecast``.

Members ask at once for different numbers of pictures, steps and sizes, more than fit into a step. Every second the forecast of
each unfinished request is noted; in the end it is compared with when the request was really done.
"""

import argparse
import asyncio
import time
from statistics import median, quantiles

from diffusion import Engine, EngineConfig, load_model
from diffusion.serving.job import Job

LOOK_SECONDS = 1.0
SOON = 2.0  # seconds; what is done sooner is not worth a forecast


async def watch(engine: Engine, notes: list[tuple[Job, float, float]]) -> None:
    """Note (job, now, when it is foreseen to be done) again and again."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.perf_counter()
        notes.extend((job, now, now + left) for job, left in engine.estimate_completion().items() if left is not None)


async def measure(members: int, max_rows: int, model_id: str | None) -> None:
    """Let ``members`` ask and print how far off the forecasts were."""
    model = load_model(model_id)
    side, cell = model.sample_side, model.latent_factor
    ended: dict[Job, float] = {}
    notes: list[tuple[Job, float, float]] = []

    async def wait(job: Job) -> None:
        await job
        ended[job] = time.perf_counter()

    async with Engine(model, EngineConfig(max_rows=max_rows)) as engine:
        watching = asyncio.create_task(watch(engine, notes))
        sizes = [side, side, side, side * 3 // 2 // cell * cell]
        requests = [
            model.request("red apple", steps=10 + 5 * (number % 3), width=sizes[number % 4], count=1 + number % 2)
            for number in range(2 * members)
        ]
        jobs = [engine.submit(request, number % members) for number, request in enumerate(requests)]
        began = time.perf_counter()
        await asyncio.gather(*map(wait, jobs))
        watching.cancel()
    print(f"{len(jobs)} requests of {members} members in {time.perf_counter() - began:.0f} s, {max_rows} rows a step")
    looks = [(abs(foreseen - ended[job]), ended[job] - now) for job, now, foreseen in notes if ended[job] - now >= SOON]
    shares = [error / left for error, left in looks]
    print(f"{len(looks)} forecasts of what was at least {SOON:g} s away")
    print(f"off by {median(error for error, _ in looks):.1f} s (median), {max(error for error, _ in looks):.1f} s (most)")
    print(f"that is {median(shares):.0%} of the time left (median), {quantiles(shares, n=10)[8]:.0%} (9 of 10)")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.forecast", description=__doc__)
    parser.add_argument("--members", type=int, default=6)
    parser.add_argument("--max-rows", type=int, default=8)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    asyncio.run(measure(options.members, options.max_rows, options.model))


if __name__ == "__main__":
    main()
