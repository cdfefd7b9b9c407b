"""Quality over training: measured recognition and its extrapolation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GOALS = {"seen, first": 0.75, "seen, first five": 0.90, "unseen, both right": 0.60}
CURVE_COLUMNS = {"seen, first": 2, "seen, first five": 3, "unseen, both right": 9}  # indices of columns in recognition.tsv


@dataclass(frozen=True)
class PowerLaw:
    """The share of failures as ``factor * latents ** exponent``."""

    factor: float
    exponent: float

    @classmethod
    def fit(cls, latents: Sequence[float], shares: Sequence[float]) -> "PowerLaw":
        """Fit shares of successes in [0, 1] by least squares of the logarithms.

        ``latents`` holds the number of latents before each measurement.
        """
        failures = np.clip(1 - np.asarray(shares), 1e-3, 1)
        exponent, logarithm = np.polyfit(np.log(np.asarray(latents, float)), np.log(failures), 1)
        return cls(math.exp(logarithm), float(exponent))

    def share(self, latents: float) -> float:
        """Predict the share of successes after ``latents``."""
        return float(1 - self.factor * latents**self.exponent)

    def latents(self, share: float) -> float:
        """Predict the number of latents to reach ``share``, or infinity."""
        return math.inf if self.exponent >= 0 else ((1 - share) / self.factor) ** (1 / self.exponent)


def read_points(path: Path, seen_before: int = 0) -> dict[str, list[tuple[float, float]]]:
    """Read (latents, share) pairs of each measure of `GOALS` from a log.

    ``path`` is a ``recognition.tsv``. ``seen_before`` is the number of latents that the run's start model had seen.
    """
    rows = [[float(cell) for cell in line.split("\t")] for line in path.read_text().splitlines()]
    return {name: [(row[1] + seen_before, row[column]) for row in rows] for name, column in CURVE_COLUMNS.items()}


def draw_curve(points: dict[str, list[tuple[float, float]]], figure: Path) -> dict[str, float]:
    """Draw the points with their fits to ``figure``; return the latents for each goal."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    axes = drawing.subplots()
    reached = {}
    for colour, (name, measured) in zip(("tab:blue", "tab:green", "tab:red"), points.items(), strict=True):
        latents, shares = zip(*measured, strict=True)
        axes.plot(latents, shares, "o", color=colour, label=name)
        axes.axhline(GOALS[name], color=colour, linewidth=0.8, linestyle=":")
        if len(set(latents)) > 1:
            law = PowerLaw.fit(latents, shares)
            reached[name] = law.latents(GOALS[name])
            along = np.geomspace(min(latents), 4 * max(latents), 100)
            axes.plot(along, [law.share(value) for value in along], "--", color=colour, linewidth=1)
    axes.set(xscale="log", ylim=(0, 1), xlabel="latents trained on", ylabel="share of pictures", title="dotted: the goals")
    axes.legend(loc="lower right")
    drawing.savefig(figure)
    return reached
