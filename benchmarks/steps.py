"""Time a sampler's step without the network: ``python -m benchmarks.steps``.

Diffusers' scheduler and the weights read from it (`diffusion.sampling.solver`) take turns to denoise the latents of one picture
on the CPU, where the engine keeps them. The times are medians and do not include the reading of the weights.
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
def denoise_with_scheduler(sampler: str, config: Mapping[str, Any], noise: Tensor, predictions: Tensor) -> None:
    """Denoise like diffusers' pipelines, with a new scheduler."""
    choice = SAMPLERS[sampler]
    generator = torch.Generator()
    scheduler = choice.scheduler.from_config(config, **choice.settings)
    scheduler.set_timesteps(len(predictions))
    extra = {"generator": generator} if choice.draws_noise else {}
    latents = noise * scheduler.init_noise_sigma
    for t, prediction in zip(scheduler.timesteps, predictions, strict=False):
        scheduler.scale_model_input(latents, t)
        latents = scheduler.step(prediction, t, latents, **extra).prev_sample


@torch.inference_mode()
def denoise_with_solver(model: ImageModel, sampler: str, noise: Tensor, predictions: Tensor) -> None:
    """Denoise like the engine."""
    solver = model.solver(sampler, len(predictions), 0)
    denoising = denoise(noise * solver.init_noise_sigma, solver, torch.Generator())
    next(denoising)
    with suppress(StopIteration):
        for prediction in predictions:
            denoising.send(prediction)


def measure(samplers: Iterable[str], side: int, steps: int, repeats: int) -> None:
    """Print the times of each sampler."""
    model = load_model()
    noise = torch.randn(1, 4, side // 8, side // 8)
    predictions = torch.randn(steps, *noise.shape)
    print(f"{side}x{side}, {steps} steps, ms per step, medians of {repeats}")
    for sampler in samplers:
        started = time.perf_counter()
        model.solver(sampler, steps, 0)
        linearize_seconds = time.perf_counter() - started
        times = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            denoise_with_scheduler(sampler, stable_diffusion(model).scheduler_config, noise, predictions)
            scheduler_ended = time.perf_counter()
            denoise_with_solver(model, sampler, noise, predictions)
            times.append((scheduler_ended - started, time.perf_counter() - scheduler_ended))
        scheduler_ms, solver_ms = (1000 * median(column) / steps for column in zip(*times[1:], strict=True))
        ratio = f"{solver_ms / scheduler_ms:.2f} of its time"
        reading = f"read in {1000 * linearize_seconds:.0f} ms"
        print(f"{sampler:8} scheduler {scheduler_ms:6.2f}   ours {solver_ms:5.2f}, {ratio}   {reading}")


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--side", type=int, default=512, help="of the picture, in pixels")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    measure(options.samplers, options.side, options.steps, options.repeats)


if __name__ == "__main__":
    main()
