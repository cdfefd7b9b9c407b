"""Compare pictures of quality ``fast`` with those of ``standard``: ``python -m benchmarks.fast``.

For each sampler that takes the model's usual number of steps: the PSNR of pictures with guidance in every second network call
to the same pictures with guidance in each, the rows of all calls, and the time. ``--period`` sets another distance.
``--run`` names the folder of a training run, whose recogniser then looks for subject and attribute in both.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image

from benchmarks.quality import decibels
from benchmarks.support.shaped_models import model_for
from diffusion.families.defaults import FAST_GUIDANCE_PERIOD
from diffusion.families.model import ImageModel
from diffusion.sampling.trajectory import step
from diffusion.training.evaluate import Recognition
from diffusion.training.prompts import EvaluationPrompt, unseen_prompts
from diffusion.training.recogniser import Recogniser

SAMPLERS = ("lms", "ddim", "euler", "euler_a", "heun", "dpm++", "unipc", "dpm++_2m_sde", "dpm2", "deis", "pndm", "ddpm")


@dataclass(frozen=True)
class Drawn:
    """Pictures, the rows of the network calls that drew them, and the seconds."""

    images: list[Image.Image]
    rows: int
    seconds: float


@torch.inference_mode()
def draw(model: ImageModel, prompts: Sequence[EvaluationPrompt], **settings: Any) -> Drawn:
    """Draw ``prompts`` one at a time; ``settings`` are fields of `ImageRequest`."""
    started = time.perf_counter()
    images: list[Image.Image] = []
    rows = 0
    for seed, prompt in enumerate(prompts):
        request = model.request(prompt.prompt, seed=seed, **settings)
        trajectory = model.trajectory(request)
        while not trajectory.done:
            rows += trajectory.rows
            step(model, [trajectory])
        assert trajectory.latents is not None
        images += model.finish([request], [trajectory.latents])
    return Drawn(images, rows, time.perf_counter() - started)


def measure(model: ImageModel, prompts: Sequence[EvaluationPrompt], period: int, sampler: str) -> tuple[Drawn, Drawn]:
    """Draw ``prompts`` with guidance in each network call, and in every ``period`` of them."""
    settings = model.defaults.of("standard") | {"sampler": sampler, "guidance_scale": model.defaults.guidance_scale}
    return draw(model, prompts, **settings), draw(model, prompts, **settings | {"guidance_period": period})


def compare(model: ImageModel, sampler: str, pictures: int) -> tuple[float, float]:
    """Return the median PSNR in dB of fast pictures to whole ones, and the share of the rows that they take."""
    whole, fast = measure(model, choose_prompts(pictures), FAST_GUIDANCE_PERIOD, sampler)
    return median(map(decibels, fast.images, whole.images)), fast.rows / whole.rows


def choose_prompts(count: int) -> list[EvaluationPrompt]:
    """Return ``count`` prompts of all kinds that training did not have."""
    unseen = unseen_prompts()
    return [unseen[index * len(unseen) // count] for index in range(count)]


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.fast", description=__doc__)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--samplers", choices=SAMPLERS, nargs="+", default=list(SAMPLERS))
    parser.add_argument("--period", type=int, default=FAST_GUIDANCE_PERIOD)
    parser.add_argument("--run", type=Path, help="folder of a training run, with its recogniser")
    parser.add_argument("--compile", action="store_true", help="compile the networks, as COMPILE=true does")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    model = model_for(options.model, compiled=options.compile)
    prompts = choose_prompts(options.pictures)
    recogniser = Recogniser.read(options.run / "recogniser.pt", torch.device("cpu")) if options.run else None
    print(f"{model.name}, {model.dtype}, {model.device}, {model.defaults.steps} steps, {len(prompts)} pictures per line")
    for sampler in (name for name in options.samplers if name in model.samplers):
        whole, fast = measure(model, prompts, options.period, sampler)
        psnrs = [decibels(*pair) for pair in zip(fast.images, whole.images, strict=True)]
        cells = f"PSNR median {median(psnrs):5.1f} dB, worst {min(psnrs):5.1f}"
        cells += f"   rows {fast.rows / whole.rows:.2f}   time {fast.seconds / whole.seconds:.2f}"
        if recogniser:
            both = [Recognition.of(recogniser.judge(each.images, prompts)).both for each in (whole, fast)]
            cells += "   both {:.0%} -> {:.0%}".format(*both)
        print(f"{sampler:14} {cells}", flush=True)


if __name__ == "__main__":
    main()
