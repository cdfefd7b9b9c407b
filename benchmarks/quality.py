"""Compare picture quality by settings: ``python -m benchmarks.quality KIND RUN``.

KIND is ``samplers``, for each sampler and number of steps, or ``intervals``, for intervals of guidance. The command prints the
seconds of a single picture, the PSNR to the picture of the same seed by 50 steps of LMS, and how often the recogniser of RUN,
the folder of a training run, sees the subject of the prompt. A sampler that adds noise at each step draws another picture, so
only the recogniser can judge it.
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

ALWAYS = (0.0, 1.0)
REFERENCE = {"sampler": "lms", "steps": 50, "guidance_interval": ALWAYS}
STEPS = (6, 8, 10, 15, 20, 30)
INTERVALS = ((0.0, 1.0), (0.0, 0.8), (0.0, 0.6), (0.0, 0.4), (0.1, 0.8), (0.1, 0.6), (0.2, 0.6))
BATCH_SIZE = 16
TIMED_PICTURES = 5


@dataclass(frozen=True)
class Point:
    """The evaluators of one way of drawing.

    ``psnr`` is in dB; ``subject`` and ``both`` are shares, as in `Recognition`.
    """

    settings: dict[str, Any]
    seconds: float
    psnr: float
    subject: float
    both: float


class Evaluator:
    """Draws ``prompts`` with ``model`` and measures the pictures."""

    def __init__(self, model: ImageModel, recogniser: Recogniser, prompts: Sequence[EvaluationPrompt]) -> None:
        self.model = model
        self.recogniser = recogniser
        self.prompts = prompts
        self.reference = self._draw(**REFERENCE)

    def _draw(self, **settings: Any) -> list[Image.Image]:
        texts = [each.prompt for each in self.prompts]
        images: list[Image.Image] = []
        for start in range(0, len(texts), BATCH_SIZE):
            batch = texts[start : start + BATCH_SIZE]
            images += self.model.generate(batch, seeds=[*range(start, start + len(batch))], **settings)
        return images

    def _seconds(self, **settings: Any) -> float:
        times = []
        for seed in range(TIMED_PICTURES + 1):  # the first picture warms up
            started = time.perf_counter()
            self.model.generate([self.prompts[0].prompt], seeds=[seed], **settings)
            times.append(time.perf_counter() - started)
        return median(times[1:])

    def measure(self, **settings: Any) -> Point:
        """Draw all prompts with ``settings``, fields of `ImageRequest`."""
        images = self._draw(**settings)
        psnr = fmean(map(decibels, images, self.reference))
        recognition = Recognition.of(self.recogniser.judge(images, self.prompts))
        return Point(settings, self._seconds(**settings), psnr, recognition.top_5, recognition.both)


def decibels(image: Image.Image, reference: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two RGB pictures in dB, at most 60.

    Nobody sees a difference above 60 dB.
    """
    difference = np.asarray(image, float) - np.asarray(reference, float)
    return min(60.0, 10 * math.log10(255**2 / max(float(np.mean(difference**2)), 1e-9)))


def ways(kind: str, samplers: Sequence[str], steps: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the settings to compare: ``samplers`` by ``steps``, or guidance intervals.

    Samplers are compared with guidance in all steps, because a share of the steps covers other noise levels in each sampler.
    """
    if kind == "samplers":
        for sampler in samplers:
            yield from ({"sampler": sampler, "steps": count, "guidance_interval": ALWAYS} for count in steps)
    else:
        yield from ({"guidance_interval": interval} for interval in INTERVALS)


def draw(points: Sequence[Point], path: Path) -> None:
    """Plot PSNR and recognition against network calls, one curve per sampler."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    psnr_axes, recogniser_axes = figure.subplots(1, 2)
    for colour, sampler in enumerate(SAMPLERS):
        if not (curve := [point for point in points if point.settings.get("sampler") == sampler]):
            continue
        calls = [point.settings["steps"] * SAMPLERS[sampler].scheduler.order for point in curve]
        style = {"marker": ".", "color": f"C{colour}", "label": sampler}
        if not SAMPLERS[sampler].draws_noise:
            psnr_axes.plot(calls, [point.psnr for point in curve], **style)
        recogniser_axes.plot(calls, [100 * point.both for point in curve], **style)
    psnr_axes.set(ylabel="dB to LMS 50")
    recogniser_axes.set(ylabel="% with subject and attribute")
    recogniser_axes.legend()
    for axes in (psnr_axes, recogniser_axes):
        axes.set_xlabel("calls of the network")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.quality", description=__doc__)
    parser.add_argument("kind", choices=("samplers", "intervals"))
    parser.add_argument("run", type=Path, help="folder of a training run, with its archive and recogniser")
    parser.add_argument("--config", type=Path, help="configuration of that training run, if it had one")
    parser.add_argument("--pictures", type=int, default=64, help="number for each way of drawing")
    parser.add_argument("--samplers", choices=SAMPLERS, nargs="+", default=list(SAMPLERS))
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--compile", action="store_true", help="compile the UNet, as COMPILE=true does")
    parser.add_argument("--figure", type=Path, help="file for a plot of the samplers")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    config = TrainingConfig.read(options.config) if options.config else TrainingConfig.read()
    half = options.pictures // 2
    seen = seen_prompts(read_archive(options.run / "archive"), config.data, half)
    unseen = unseen_prompts()
    prompts = [*seen, *(unseen[index * len(unseen) // half] for index in range(half))]
    recogniser = Recogniser.read(options.run / "recogniser.pt", torch.device("cpu"))
    evaluator = Evaluator(model_for(options.model, compiled=options.compile), recogniser, prompts)
    points: list[Point] = []
    print(f"{evaluator.model.name}, {evaluator.model.dtype}, {evaluator.model.device}, {len(prompts)} pictures per line")
    for settings in ways(options.kind, options.samplers, options.steps):
        point = evaluator.measure(**settings)
        points.append(point)
        settings_text = " ".join(map(str, settings.values()))
        shares = f"{point.subject:4.0%} subject  {point.both:4.0%} both"
        print(f"{settings_text:21} {point.seconds:6.3f} s  {point.psnr:5.1f} dB  {shares}", flush=True)
    if options.figure:
        draw(points, options.figure)


if __name__ == "__main__":
    main()
