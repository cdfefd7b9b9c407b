"""One picture at a time against diffusers' own pipeline: ``python -m benchmarks.alone``.

The same weights, dtype, sampler, steps, guidance and seed, in one process, in turns; the figure is the ratio of the medians.
With ``--defaults`` each does what it does where nothing is said: this engine what suits the model, the pipeline 50 steps, here
of DDIM.
"""

import argparse
import asyncio
import time
from functools import partial
from statistics import median
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from benchmarks.support.shaped_models import SHAPES, model_for, stable_diffusion
from diffusion import Engine
from diffusion.families.model import ImageModel
from diffusion.sampling.samplers import SAMPLERS
from diffusion.serving.worker_thread import WorkerThread


def pipeline_of(model: ImageModel, sampler: str) -> StableDiffusionPipeline:
    """Put the very networks of ``model`` into diffusers' pipeline."""
    chosen = SAMPLERS[sampler]
    family = stable_diffusion(model)
    pipeline = StableDiffusionPipeline(
        vae=family.vae,
        text_encoder=family.text_encoder,
        tokenizer=family.tokenizer,
        unet=family.unet,
        scheduler=chosen.scheduler.from_config(family.scheduler_config, **chosen.settings),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def thread_of(engine: Engine) -> WorkerThread:
    """Return the thread that ``engine`` computes in, for all that is compared with it: each has a team of OpenMP's threads.

    Two teams that take turns slow each other down by a third.
    """
    return engine._worker


async def measure(model: ImageModel, settings: dict[str, Any], repeats: int) -> None:
    """Time both ``repeats`` times in turns and print the medians and their ratio.

    ``settings`` are those of `ImageRequest`; without any, both have their own.
    """
    pipeline = pipeline_of(model, settings.get("sampler", "ddim"))
    told = model.request("told", **settings)
    theirs_told = {"num_inference_steps": told.steps, "guidance_scale": told.guidance_scale} if settings else {}
    ours, theirs = [], []
    async with Engine(model) as engine:
        loop, thread = asyncio.get_running_loop(), thread_of(engine)
        for round_ in range(repeats + 1):
            request = model.request(f"red apple {round_}", seed=round_, **settings)
            started = time.perf_counter()
            await engine.submit(request)
            between = time.perf_counter()
            generator = torch.Generator().manual_seed(request.seed)
            size = {"height": request.height, "width": request.width}
            await loop.run_in_executor(thread, partial(pipeline, request.prompt, generator=generator, **size, **theirs_told))
            if round_:  # the first warms up
                ours.append(between - started)
                theirs.append(time.perf_counter() - between)
    how = f"{told.sampler}, {told.steps} steps" + ("" if settings else " against the pipeline's own 50")
    print(f"{model.name}, {model.dtype}, {model.device}, {how}, median of {repeats} in turns")
    print(f"ours {median(ours):.3f} s   diffusers {median(theirs):.3f} s   ratio {median(ours) / median(theirs):.2f}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.alone", description=__doc__)
    parser.add_argument("--sampler", choices=SAMPLERS, default="dpm++")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="this engine's UNet, as COMPILE=true does")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of a published shape instead")
    parser.add_argument("--defaults", action="store_true", help="instead of the same sampler and steps")
    options = parser.parse_args()
    same = {"sampler": options.sampler, "steps": options.steps, "guidance_interval": (0.0, 1.0)}
    settings = {} if options.defaults else same
    model = model_for(options.model, options.shape, options.compile)
    asyncio.run(measure(model, settings, options.repeats))


if __name__ == "__main__":
    main()
