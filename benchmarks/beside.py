"""Time a small picture beside another member's large one: ``python -m benchmarks.beside``.

The small one has the model's defaults. The large one is as dear as the limits allow: 1024x1024 in 150 steps of Heun. It is
cancelled at the end.
"""

import argparse
import asyncio
import itertools
import time
from dataclasses import dataclass
from statistics import median

from benchmarks.support.shaped_models import model_for
from diffusion import Engine, EngineConfig, Limits
from diffusion.families.model import ImageModel

LIMITS = Limits()
PATIENCE_SECONDS = 90.0  # for each of the small pictures


@dataclass(frozen=True)
class Beside:
    """The median seconds of a small picture alone and beside a large one.

    ``beside`` is infinite if one of them took longer than `PATIENCE_SECONDS`.
    """

    alone: float
    beside: float

    @property
    def ratio(self) -> float:
        """How many times as long it takes beside the large one."""
        return self.beside / self.alone


async def measure(model: ImageModel, repeats: int, large_side: int) -> Beside:
    """Draw ``repeats`` small pictures alone, then as many while another member's large one is drawn."""
    large = model.request(
        "a large apple", width=large_side, height=large_side, steps=LIMITS.steps, sampler="heun", guidance_interval=(0.0, 1.0)
    )

    async with Engine(model, EngineConfig(limits=Limits(side=max(large_side, LIMITS.side)))) as engine:
        seeds = itertools.count()  # no picture twice, as the engine would go on from steps that it keeps

        async def seconds() -> float:
            started = time.perf_counter()
            job = engine.submit(model.request("red apple", seed=next(seeds)), owner="a member")
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await job
            except TimeoutError:
                job.cancel()
                return float("inf")
            return time.perf_counter() - started

        await seconds()  # warm up
        alone = [await seconds() for _ in range(repeats)]
        other = engine.submit(large, owner="another member")
        async for progress in other:
            if progress.completed:  # the engine knows what its steps take
                break
        beside = [await seconds() for _ in range(repeats)]
        other.cancel()
    return Beside(median(alone), median(beside))


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.beside", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large-side", type=int, default=LIMITS.side, help="of the large picture, in pixels")
    parser.add_argument("--compile", action="store_true", help="compile the networks, as COMPILE=true does")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    model = model_for(options.model, compiled=options.compile)
    measured = asyncio.run(measure(model, options.repeats, options.large_side))
    print(f"{model.name}, {model.dtype}, {model.device}, medians of {options.repeats}")
    print(f"alone {measured.alone:.2f} s, beside {measured.beside:.2f} s: {measured.ratio:.1f} times as long")


if __name__ == "__main__":
    main()
