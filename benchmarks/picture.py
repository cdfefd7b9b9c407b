"""Time pictures, alone and in a batch: ``python -m benchmarks.picture``.

It also prints the gain of the shared batch over drawing one picture after another, from the same run.
"""

import argparse
import asyncio
import time
from statistics import median

from benchmarks.support.shaped_models import model_for
from diffusion import Engine


async def measure(steps: int | None, company: int, repeats: int, model_id: str | None, compiled: bool) -> None:
    """Time one request alone and ``company`` at once; print medians of ``repeats``."""
    model = model_for(model_id, compiled=compiled)
    steps = steps or model.defaults.steps

    async def seconds(count: int) -> tuple[float, float]:
        """Return the seconds until the first preview and until all of ``count`` pictures."""
        started = time.perf_counter()
        requests = [model.request("red apple", steps=steps, seed=seed) for seed in range(count)]
        jobs = [engine.submit(request, owner) for owner, request in enumerate(requests)]
        async for progress in jobs[0]:
            if progress.previews:
                break
        first_preview = time.perf_counter() - started
        await asyncio.gather(*jobs)
        return first_preview, time.perf_counter() - started

    async with Engine(model) as engine:
        await seconds(company)  # warm up
        rounds = [(*await seconds(1), (await seconds(company))[1]) for _ in range(repeats)]
    first_preview, alone, together = map(median, zip(*rounds, strict=True))
    print(f"{model.name}, {model.dtype}, {model.device}, {steps} steps, guidance {model.defaults.guidance_scale:g}")
    print(f"alone       {alone:.2f} s per picture, the first preview after {first_preview:.2f} s (medians of {repeats})")
    print(f"{company:2} at once  {together / company:.2f} s per picture: {alone * company / together:.2f}x one after another")


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.picture", description=__doc__)
    parser.add_argument("--steps", type=int, help="the model's default if left out")
    parser.add_argument("--company", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="compile the UNet, as COMPILE=true does")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    asyncio.run(measure(options.steps, options.company, options.repeats, options.model, options.compile))


if __name__ == "__main__":
    main()
