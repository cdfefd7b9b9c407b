"""How soon a picture is good: ``python -m benchmarks.quality samplers|intervals RUN [--figure FILE]``.

For samplers and numbers of steps, or for intervals of guidance: the seconds that a picture takes alone, how near it comes to
the one of the same seed by LMS in 50 steps (PSNR), and how often the recogniser of RUN, a training's folder, sees in it what
was asked for. A sampler that draws noise on its way leads elsewhere, so that only the recogniser can judge it.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.support.shaped_models import model_for
from diffusion.families.model import ImageModel
from diffusion.sampling.samplers import SAMPLERS
from diffusion.training.config import TrainingConfig
from diffusion.training.evaluate import Recognition
from diffusion.training.pictures import read_archive
from diffusion.training.prompts import EvaluationPrompt, seen_prompts, unseen_prompts
from diffusion.training.recogniser import Recogniser

THROUGHOUT = (0.0, 1.0)
REFERENCE = {"sampler": "lms", "steps": 50, "guidance_interval": THROUGHOUT}
STEPS = (6, 8, 10, 15, 20, 30)
INTERVALS = ((0.0, 1.0), (0.0, 0.8), (0.0, 0.6), (0.0, 0.4), (0.1, 0.8), (0.1, 0.6), (0.2, 0.6))
AT_ONCE, TIMED = 16, 5


@dataclass(frozen=True)
class Point:
    """What was measured of one way of drawing: ``psnr`` in dB, ``subject`` and ``both`` shares like those of `Recognition`."""

    settings: dict[str, Any]
    seconds: float
    psnr: float
    subject: float
    both: float


class Judge:
    """Draws what is ``asked`` for with ``model`` and measures it."""

    def __init__(self, model: ImageModel, recogniser: Recogniser, asked: Sequence[EvaluationPrompt]) -> None:
        self.model, self.recogniser, self.asked = model, recogniser, asked
        self.reference = self._draw(**REFERENCE)

    def _draw(self, **settings: Any) -> list[Image.Image]:
        prompts, images = [shown.prompt for shown in self.asked], []
        for start in range(0, len(prompts), AT_ONCE):
            part = prompts[start : start + AT_ONCE]
            images += self.model.generate(part, seeds=[*range(start, start + len(part))], **settings)
        return images

    def _seconds(self, **settings: Any) -> float:
        times = []
        for round_ in range(TIMED + 1):  # the first warms up
            began = time.perf_counter()
            self.model.generate([self.asked[0].prompt], seeds=[round_], **settings)
            times.append(time.perf_counter() - began)
        return median(times[1:])

    def measure(self, **settings: Any) -> Point:
        """Draw everything with ``settings``, those of `ImageRequest`."""
        images = self._draw(**settings)
        psnr = fmean(map(decibels, images, self.reference))
        seen = Recognition.of(self.recogniser.judge(images, self.asked))
        return Point(settings, self._seconds(**settings), psnr, seen.top_5, seen.both)


def decibels(image: Image.Image, reference: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two RGB pictures; 60 dB is where no eye sees more."""
    difference = np.asarray(image, float) - np.asarray(reference, float)
    return min(60.0, 10 * math.log10(255**2 / max(float(np.mean(difference**2)), 1e-9)))


def ways(kind: str, samplers: Sequence[str], steps: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Return the settings to compare: all ``samplers`` in all numbers of ``steps``, or the model's own with less guidance.

    The former are guided throughout: a share of the steps leads to other noise levels in each sampler.
    """
    if kind == "samplers":
        for sampler in samplers:
            yield from ({"sampler": sampler, "steps": count, "guidance_interval": THROUGHOUT} for count in steps)
    else:
        yield from ({"guidance_interval": interval} for interval in INTERVALS)


def draw(found: Sequence[Point], path: Path) -> None:
    """Draw PSNR against calls of the network, a curve a sampler, and the recogniser's verdict beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    near, recognised = figure.subplots(1, 2)
    for colour, sampler in enumerate(SAMPLERS):
        if not (curve := [point for point in found if point.settings.get("sampler") == sampler]):
            continue
        calls = [point.settings["steps"] * SAMPLERS[sampler].scheduler.order for point in curve]
        style = {"marker": ".", "color": f"C{colour}", "label": sampler}
        if not SAMPLERS[sampler].draws_noise:
            near.plot(calls, [point.psnr for point in curve], **style)
        recognised.plot(calls, [100 * point.both for point in curve], **style)
    near.set(ylabel="dB to LMS 50")
    recognised.set(ylabel="% with subject and attribute")
    recognised.legend()
    for axes in (near, recognised):
        axes.set_xlabel("calls of the network")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.quality", description=__doc__)
    parser.add_argument("kind", choices=("samplers", "intervals"))
    parser.add_argument("run", type=Path, help="a training's folder with its archive and recogniser")
    parser.add_argument("--config", type=Path, help="of that training, where it had one")
    parser.add_argument("--pictures", type=int, default=64, help="of each way of drawing")
    parser.add_argument("--samplers", choices=SAMPLERS, nargs="+", default=list(SAMPLERS))
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--compile", action="store_true", help="as COMPILE=true does")
    parser.add_argument("--figure", type=Path, help="where to draw the curves of the samplers")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    config = TrainingConfig.read(options.config) if options.config else TrainingConfig.read()
    half = options.pictures // 2
    known, new = seen_prompts(read_archive(options.run / "archive"), config.data, half), unseen_prompts()
    asked = [*known, *(new[index * len(new) // half] for index in range(half))]
    recogniser = Recogniser.read(options.run / "recogniser.pt", torch.device("cpu"))
    judge, found = Judge(model_for(options.model, compiled=options.compile), recogniser, asked), []
    print(f"{judge.model.name}, {judge.model.dtype}, {judge.model.device}, {len(asked)} pictures a line")
    for settings in ways(options.kind, options.samplers, options.steps):
        point = judge.measure(**settings)
        found.append(point)
        way, shares = " ".join(map(str, settings.values())), f"{point.subject:4.0%} subject  {point.both:4.0%} both"
        print(f"{way:21} {point.seconds:6.3f} s  {point.psnr:5.1f} dB  {shares}", flush=True)
    if options.figure:
        draw(found, options.figure)


if __name__ == "__main__":
    main()
