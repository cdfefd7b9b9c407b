"""Measure label guidance: the share of pictures that show the label, by scale."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from diffusion.training.labels import COLOURS, GROUPS, group_of, main_colour
from diffusion.training.pictures import Picture
from diffusion.training.recogniser import Recogniser

SCALES = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0)
NEUTRAL_PROMPT = "emoji"  # names neither group nor colour
GUIDANCE_SCALES = {"alone": 1.0, "with classifier-free guidance": 3.0}

# Draws `NEUTRAL_PROMPT` once for each seed: label, label scale, guidance scale, seeds.
Steer = Callable[[str, float, float, Sequence[int]], list[Image.Image]]
Curve = dict[float, float]


def measure(steer: Steer, recogniser: Recogniser, pictures: list[Picture], seeds: int) -> dict[str, dict[str, Curve]]:
    """Measure label guidance with ``seeds`` pictures for each label and scale.

    Returns shares by kind of label, by `GUIDANCE_SCALES`, by scale. ``recogniser`` names the group of a picture by its most
    likely concept; the pixels of the subject name its colour. At scale 0 the same pictures count for every label, so the share
    is that of chance.
    """
    groups = {picture.name: group_of(picture) for picture in pictures}
    judges: dict[str, tuple[Sequence[str], Callable[[list[Image.Image]], list[str]]]] = {
        "groups": (GROUPS, lambda images: [groups[name] for name in recogniser.name(images)]),
        "colours": (COLOURS, lambda images: [main_colour(image) for image in images]),
    }
    numbers = range(seeds)
    curves: dict[str, dict[str, Curve]] = {kind: {way: {} for way in GUIDANCE_SCALES} for kind in judges}
    total = len(GUIDANCE_SCALES) * len(SCALES) * (len(GROUPS) + len(COLOURS))
    with tqdm(total=total, desc="steering", unit="label", mininterval=5) as bar:
        for way, guidance_scale in GUIDANCE_SCALES.items():
            unsteered = steer("", 0.0, guidance_scale, numbers)
            for kind, (labels, judge) in judges.items():
                for scale in SCALES:
                    right = 0
                    for label in labels:
                        drawn = steer(label, scale, guidance_scale, numbers) if scale else unsteered
                        right += judge(drawn).count(label)
                        bar.update()
                    curves[kind][way][scale] = right / (seeds * len(labels))
    return curves


def draw_steering(curves: dict[str, dict[str, Curve]], folder: Path) -> None:
    """Write ``curves`` to ``folder`` as ``steering.json`` and ``steering.png``."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "steering.json").write_text(json.dumps(curves, indent=2) + "\n")
    drawing = Figure(figsize=(8, 3.4), dpi=110, layout="constrained")
    for axes, (kind, ways) in zip(drawing.subplots(1, len(curves), sharey=True), curves.items(), strict=True):
        for way, curve in ways.items():
            axes.plot(list(curve), list(curve.values()), "o-", label=way)
        axes.set(title=f"steered to {kind}", xlabel="scale s", ylim=(0, 1))
    drawing.axes[0].set_ylabel("share recognised")
    drawing.axes[0].legend(loc="lower right")
    drawing.savefig(folder / "steering.png")
