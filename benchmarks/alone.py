"""Compare one picture with diffusers' pipeline: ``python -m benchmarks.alone``.

Engine and pipeline take turns in one process with the same weights, dtype, sampler, steps, guidance and seed. The result is
the ratio of their median times. With ``--defaults`` each uses its own defaults: the engine those of the model, the pipeline
50 steps, here of DDIM.
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


def build_pipeline(model: ImageModel, sampler: str) -> StableDiffusionPipeline:
    """Build diffusers' pipeline around the networks of ``model``."""
    choice = SAMPLERS[sampler]
    family = stable_diffusion(model)
    pipeline = StableDiffusionPipeline(
        vae=family.vae,
        text_encoder=family.text_encoder,
        tokenizer=family.tokenizer,
        unet=family.unet,
        scheduler=choice.scheduler.from_config(family.scheduler_config, **choice.settings),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def worker_thread(engine: Engine) -> WorkerThread:
    """Return the thread in which ``engine`` computes.

    Whatever is compared with the engine runs there too: a second thread has OpenMP threads of its own, and two such teams that
    take turns slow each other down by a third.
    """
    return engine._worker._worker


async def measure(model: ImageModel, settings: dict[str, Any], repeats: int) -> None:
    """Time both ``repeats`` times in turns and print the medians and their ratio.

    ``settings`` are fields of `ImageRequest`; if empty, both use their own defaults.
    """
    pipeline = build_pipeline(model, settings.get("sampler", "ddim"))
    example = model.request("example", **settings)
    pipeline_settings: dict[str, Any] = {}
    if settings:
        pipeline_settings = {"num_inference_steps": example.steps, "guidance_scale": example.guidance_scale}
    our_seconds: list[float] = []
    their_seconds: list[float] = []
    async with Engine(model) as engine:
        loop = asyncio.get_running_loop()
        thread = worker_thread(engine)
        for seed in range(repeats + 1):
            request = model.request(f"red apple {seed}", seed=seed, **settings)
            started = time.perf_counter()
            await engine.submit(request)
            engine_ended = time.perf_counter()
            generator = torch.Generator().manual_seed(request.seed)
            size = {"height": request.height, "width": request.width}
            await loop.run_in_executor(
                thread, partial(pipeline, request.prompt, generator=generator, **size, **pipeline_settings)
            )
            if seed:  # the first round warms up
                our_seconds.append(engine_ended - started)
                their_seconds.append(time.perf_counter() - engine_ended)
    description = f"{example.sampler}, {example.steps} steps" + ("" if settings else " against the pipeline's own 50")
    print(f"{model.name}, {model.dtype}, {model.device}, {description}, median of {repeats} in turns")
    ours = median(our_seconds)
    theirs = median(their_seconds)
    print(f"ours {ours:.3f} s   diffusers {theirs:.3f} s   ratio {ours / theirs:.2f}")


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.alone", description=__doc__)
    parser.add_argument("--sampler", choices=SAMPLERS, default="dpm++")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="compile this engine's UNet, as COMPILE=true does")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--shape", choices=SHAPES, help="use random weights of a published shape")
    parser.add_argument("--defaults", action="store_true", help="use the defaults of each side")
    options = parser.parse_args()
    same_settings = {"sampler": options.sampler, "steps": options.steps, "guidance_interval": (0.0, 1.0)}
    settings = {} if options.defaults else same_settings
    model = model_for(options.model, options.shape, options.compile)
    asyncio.run(measure(model, settings, options.repeats))


if __name__ == "__main__":
    main()
