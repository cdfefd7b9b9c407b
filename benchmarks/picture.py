"""Time pictures, alone and in a batch: ``python -m benchmarks.picture``.

It also prints the gain of the shared batch over drawing one picture after another, from the same run.
"""

import argparse
import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.support.shaped_models import model_for
from diffusion import Engine
from diffusion.families.model import ImageModel


@dataclass(frozen=True)
class Pictures:
    """Median seconds: until the first preview, of a picture alone, and of each of several at once."""

    first_preview: float
    alone: float
    together: float

    @property
    def gain(self) -> float:
        """How many times as many pictures a second are drawn at once as one after another."""
        return self.alone / self.together


async def measure(model: ImageModel, ways: Mapping[str, Mapping[str, Any]], company: int, repeats: int) -> dict[str, Pictures]:
    """Time one request alone and ``company`` at once with the settings of each of ``ways``, in turns."""
    seeds = itertools.count()  # no picture twice, as the engine would go on from steps that it keeps

    async def seconds(count: int, settings: Mapping[str, Any]) -> tuple[float, float]:
        """Return the seconds until the first preview and until all of ``count`` pictures."""
        started = time.perf_counter()
        requests = [model.request("red apple", seed=next(seeds), **settings) for _ in range(count)]
        jobs = [engine.submit(request, owner) for owner, request in enumerate(requests)]
        async for progress in jobs[0]:
            if progress.previews:
                break
        first_preview = time.perf_counter() - started
        await asyncio.gather(*jobs)
        return first_preview, time.perf_counter() - started

    rounds: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    async with Engine(model) as engine:
        for settings in ways.values():
            await seconds(company, settings)  # warm up
        for _ in range(repeats):
            for way, settings in ways.items():
                first_preview, alone = await seconds(1, settings)
                _, together = await seconds(company, settings)
                rounds[way].append((first_preview, alone, together / company))
    return {way: Pictures(*map(median, zip(*each, strict=True))) for way, each in rounds.items()}


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.picture", description=__doc__)
    parser.add_argument("--steps", type=int, help="the model's default if left out")
    parser.add_argument("--company", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="compile the networks, as COMPILE=true does")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    model = model_for(options.model, compiled=options.compile)
    ways: dict[str, dict[str, Any]] = {model.name: {"steps": options.steps} if options.steps else {}}
    if model.student_defaults and not options.steps:
        ways = {"student": {}, "teacher": model.teacher_settings}
    measured = asyncio.run(measure(model, ways, options.company, options.repeats))
    print(f"{model.dtype}, {model.device}, medians of {options.repeats}")
    for way, pictures in measured.items():
        request = model.request("red apple", **ways[way])
        print(f"{way}, {request.sampler}, {request.steps} steps, guidance {request.guidance_scale:g}")
        print(f"alone       {pictures.alone:.3f} s per picture, the first preview after {pictures.first_preview:.3f} s")
        print(f"{options.company:2} at once  {pictures.together:.3f} s per picture: {pictures.gain:.2f}x one after another")


if __name__ == "__main__":
    main()
