"""What a step of a sampler costs besides the network: ``python -m benchmarks.steps``.

Diffusers' scheduler against what was read off it (`diffusion.sampling.solver`), for latents of one picture on the CPU, where
the engine keeps them; medians of several denoisings without any network, in turns, after the sampler was read.
"""

import argparse
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.support.shaped_models import stable_diffusion
from diffusion import ImageModel, load_model
from diffusion.sampling.denoise import denoise
from diffusion.sampling.samplers import SAMPLERS


@torch.inference_mode()
def theirs(sampler: str, config: Mapping[str, Any], noise: Tensor, predictions: Tensor) -> None:
    """Denoise as diffusers' pipelines do, with a scheduler that starts anew."""
    chosen, generator = SAMPLERS[sampler], torch.Generator()
    scheduler = chosen.scheduler.from_config(config, **chosen.settings)
    scheduler.set_timesteps(len(predictions))
    extra = {"generator": generator} if chosen.draws_noise else {}
    latents = noise * scheduler.init_noise_sigma
    for t, prediction in zip(scheduler.timesteps, predictions, strict=False):
        scheduler.scale_model_input(latents, t)
        latents = scheduler.step(prediction, t, latents, **extra).prev_sample


@torch.inference_mode()
def ours(model: ImageModel, sampler: str, noise: Tensor, predictions: Tensor) -> None:
    """Denoise as the engine does."""
    solver = model.solver(sampler, len(predictions), 0)
    going = denoise(noise * solver.init_noise_sigma, solver, torch.Generator())
    next(going)
    with suppress(StopIteration):
        for prediction in predictions:
            going.send(prediction)


def measure(samplers: Iterable[str], side: int, steps: int, repeats: int) -> None:
    """Print a line for each sampler."""
    model = load_model()
    noise = torch.randn(1, 4, side // 8, side // 8)
    predictions = torch.randn(steps, *noise.shape)
    print(f"{side}x{side}, {steps} steps, ms a step, medians of {repeats}")
    for sampler in samplers:
        began = time.perf_counter()
        model.solver(sampler, steps, 0)
        reading, times = time.perf_counter() - began, []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            theirs(sampler, stable_diffusion(model).scheduler_config, noise, predictions)
            between = time.perf_counter()
            ours(model, sampler, noise, predictions)
            times.append((between - began, time.perf_counter() - between))
        their_time, our_time = (1000 * median(column) / steps for column in zip(*times[1:], strict=True))
        ratio = f"{our_time / their_time:.2f} of its time"
        print(f"{sampler:8} scheduler {their_time:6.2f}   ours {our_time:5.2f}, {ratio}   read in {1000 * reading:.0f} ms")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--side", type=int, default=512, help="of the picture")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    measure(options.samplers, options.side, options.steps, options.repeats)


if __name__ == "__main__":
    main()
