"""One picture at a time against diffusers' own pipeline: ``python -m benchmarks.alone``.

The same weights, dtype, sampler, steps, guidance and seed, in one process, in turns; the figure is the ratio of the medians.
"""

import argparse
import asyncio
import time
from statistics import median

import torch
from diffusers import StableDiffusionPipeline

from diffusion import Engine, ImageDiffusionModel
from diffusion.sampling import SAMPLERS


def pipeline_of(model: ImageDiffusionModel, sampler: str) -> StableDiffusionPipeline:
    """Put the very networks of ``model`` into diffusers' pipeline."""
    chosen = SAMPLERS[sampler]
    pipeline = StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.unet,
        scheduler=chosen.scheduler.from_config(model.scheduler_config, **chosen.settings),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


async def measure(sampler: str, steps: int, repeats: int, model_id: str | None) -> None:
    """Time both ``repeats`` times in turns and print the medians and their ratio."""
    model = ImageDiffusionModel.from_pretrained(model_id)
    pipeline = pipeline_of(model, sampler)
    ours, theirs = [], []
    async with Engine(model) as engine:
        for round_ in range(repeats + 1):
            request = model.request(f"red apple {round_}", steps=steps, sampler=sampler, seed=round_)
            started = time.perf_counter()
            await engine.submit(request)
            between = time.perf_counter()
            await asyncio.to_thread(
                pipeline,
                request.prompt,
                height=request.height,
                width=request.width,
                num_inference_steps=steps,
                guidance_scale=request.guidance_scale,
                generator=torch.Generator().manual_seed(request.seed),
            )
            if round_:  # the first warms up
                ours.append(between - started)
                theirs.append(time.perf_counter() - between)
    print(f"{model.name}, {model.dtype}, {model.device}, {sampler}, {steps} steps, median of {repeats} in turns")
    print(f"ours {median(ours):.3f} s   diffusers {median(theirs):.3f} s   ratio {median(ours) / median(theirs):.2f}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.alone", description=__doc__)
    parser.add_argument("--sampler", choices=SAMPLERS, default="dpm++")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    asyncio.run(measure(options.sampler, options.steps, options.repeats, options.model))


if __name__ == "__main__":
    main()
