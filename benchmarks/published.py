"""Run published configurations at full width: ``python -m benchmarks.published``.

The weights are random. Each model is in bfloat16 and replaces the one before, as with /models. The memory held shows that the
old one was freed.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import torch

from benchmarks.support.shaped_models import stable_diffusion
from diffusion import Engine, EngineConfig, Limits, load_model
from diffusion.families.model import ImageModel
from diffusion.loading.random_weights import PUBLISHED_MODELS, write_model
from diffusion.request import ImageRequest
from diffusion.serving.latency import Step


async def measure(hub_ids: list[str], side: int, steps: int) -> None:
    """Write, load and run the models one after another; print time and memory."""
    async with AsyncExitStack() as stack:
        engine = None
        for hub_id in hub_ids:
            with tempfile.TemporaryDirectory(prefix="darkroom-") as temporary:
                started = time.perf_counter()
                folder = write_model(Path(temporary) / "model", hub_id, factor=1, dtype=torch.bfloat16)
                written = time.perf_counter()

                def load(folder: Path = folder) -> tuple[ImageModel, None]:
                    return load_model(folder, dtype=torch.bfloat16), None

                if engine is None:
                    config = EngineConfig(limits=Limits(side=max(side, 64)))
                    engine = await stack.enter_async_context(Engine(load()[0], config))
                else:
                    await engine.switch(load)
            print(
                f"{hub_id}: written in {written - started:.0f} s, loaded in {time.perf_counter() - written:.0f} s", flush=True
            )
            await measure_picture(engine, side, steps)


async def measure_picture(engine: Engine, side: int, steps: int) -> None:
    """Draw a picture and print its time and memory; keep no reference to the model."""
    step_seconds: list[float] = []
    gib_before = resident_gib()
    family = stable_diffusion(engine.model)
    sampler = "ddim" if family.prediction_type == "v_prediction" else "lms"
    engine.watchers = [partial(_record_step, step_seconds)]
    await engine.submit(ImageRequest("a red fox", width=side, height=side, steps=steps, sampler=sampler, seed=1))
    networks = (family.unet, family.vae, family.text_encoder)
    parameters = sum(weight.numel() for network in networks for weight in network.parameters())
    print(
        f"  {parameters / 1e6:.0f} M parameters, {family.prediction_type}, own side {family.sample_side};"
        f" {gib_before:.1f} GiB held, {resident_gib():.1f} GiB after {side}x{side} with guidance, {sampler}:"
        f" steps of {', '.join(f'{seconds:.1f}' for seconds in step_seconds)} s, the last with the decoder",
        flush=True,
    )


def _record_step(step_seconds: list[float], step: Step) -> None:
    step_seconds.append(step.seconds)


def resident_gib() -> float:
    """Return the memory of this process in GiB, as Linux counts it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.published", description=__doc__)
    parser.add_argument("models", nargs="*", default=list(PUBLISHED_MODELS), help="hub ids; all if left out")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    asyncio.run(measure(options.models, options.side, options.steps))


if __name__ == "__main__":
    main()
