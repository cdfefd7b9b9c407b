"""Draw requests to two models in turns: ``python -m benchmarks.models``.

Requests alternate between two copies of the embedded model under two names. They are asked for at once, and one after the other
is done, with memory for both models and for one. The output is seconds, how often a model was loaded, and the ratio.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from functools import partial

from diffusion import load_model
from diffusion.config import EngineConfig
from diffusion.families.model import ImageModel
from diffusion.loading.memory import model_bytes
from diffusion.loading.model import describe_model
from diffusion.serving.engine import Engine
from diffusion.serving.offers import Offer

NAMES = ("first", "second")


async def measure(room: float, options: argparse.Namespace, *, at_once: bool) -> tuple[float, int]:
    """Return the seconds of all requests, and how often a model was loaded; ``room`` is that for so many models."""
    loads: list[str] = []

    def load(name: str) -> tuple[ImageModel, None]:
        loads.append(name)
        return load_model(), None

    model = load_model()
    described = describe_model(), model_bytes(model)
    describe: Callable[[], tuple[ImageModel, int]] = lambda: described  # noqa: E731
    config = EngineConfig(models_max_bytes=int(room * model_bytes(model)))
    async with Engine(model, config, name=NAMES[0]) as engine:
        await engine.offer({name: Offer(partial(load, name), describe) for name in NAMES})
        requests = [
            model.request(f"red apple {seed}", seed=seed, steps=options.steps, model=NAMES[seed % 2])
            for seed in range(options.count)
        ]
        for request in requests[: 1 if room < 2 else 2]:  # warms up
            await engine.submit(request)
        loads.clear()
        began = time.perf_counter()
        if at_once:
            for job in [engine.submit(request, owner=request.seed) for request in requests]:
                await job
        else:
            for request in requests:
                await engine.submit(request)
        return time.perf_counter() - began, len(loads)


async def compare(options: argparse.Namespace) -> None:
    """Print the figures."""
    for room, label in ((2.5, "memory for both"), (1.5, "memory for one")):
        one_by_one, loads_one_by_one = await measure(room, options, at_once=False)
        at_once, loads_at_once = await measure(room, options, at_once=True)
        print(
            f"{label}: {at_once:.1f} s at once ({loads_at_once} loads), {one_by_one:.1f} s one at a time"
            f" ({loads_one_by_one} loads), ratio {at_once / one_by_one:.2f}"
        )


def main() -> None:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.models", description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--steps", type=int, default=12)
    asyncio.run(compare(parser.parse_args()))


if __name__ == "__main__":
    main()
