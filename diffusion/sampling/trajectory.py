"""An image in denoising, and the step that advances many with one network call."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from diffusion.errors import NotFiniteError
from diffusion.sampling.branching import Branch
from diffusion.sampling.classifier_guidance import ClassifierGuidance, LabelGuidance
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.denoise import Denoising


class Network(Protocol):
    """The part of a model that a step uses.

    Tensors have one row per row of the call. ``classifier`` is None for most models.
    """

    classifier: ClassifierGuidance | None

    def predict_noise(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """Call the denoising network and return its predictions, like ``latents``."""

    def guide(self, rows: Tensor, scale: float) -> Tensor:
        """Combine one image's rows of predictions into one (1, channels, height, width)."""


@dataclass(eq=False)
class Trajectory:
    """A denoising in progress and what guides it.

    ``conditions`` holds the conditional row, after an unconditional one where guidance is used. `sample` and `timestep` are
    the next input of the network; `prediction` is its last guided output, for `last_input`. ``guided`` is the range of
    network calls with guidance, from the first to before the second; the others take the conditional row alone. So do those
    between calls that are ``guidance_period`` apart: what guidance added to the latest conditional prediction is added again.
    ``step_index`` counts the calls so far, of ``total``; ``branches`` are in their order. ``lora_row`` keeps in memory what the
    conditions refer to.
    """

    denoising: Denoising
    conditions: Conditions
    guidance_scale: float
    total: int
    label_guidance: LabelGuidance | None = None
    branches: tuple[Branch, ...] = ()
    guided: tuple[float, float] = (0, math.inf)
    guidance_period: int = 1
    lora_row: object = None
    step_index: int = 0
    latents: Tensor | None = None
    prediction: Tensor | None = None
    last_input: tuple[Tensor, Tensor] | None = None
    error: Exception | None = None
    _added: Tensor | None = None  # by guidance to the conditional prediction of call `_added_at`
    _added_at: int = 0

    def __post_init__(self) -> None:
        self.sample, self.timestep = next(self.denoising)

    @property
    def _is_guided(self) -> bool:
        first, end = self.guided
        return first <= self.step_index < end

    @property
    def _computes_guidance(self) -> bool:
        is_due = self._added is None or self.step_index - self._added_at >= self.guidance_period
        return self._is_guided and is_due

    @property
    def active_conditions(self) -> Conditions:
        """The rows of `conditions` in the next call of the network."""
        return self.conditions if self._computes_guidance else self.conditions[-1:]

    @property
    def rows(self) -> int:
        """How many rows this takes in the next call of the network."""
        return len(self.conditions) if self._computes_guidance else 1

    @property
    def done(self) -> bool:
        """Whether `latents` holds the clean result."""
        return self.latents is not None

    def guide(self, model: Network, rows: Tensor) -> Tensor:
        """Combine the rows of predictions for `active_conditions` into one guided prediction."""
        guided = model.guide(rows, self.guidance_scale)
        if self.guidance_period == 1 or not self._is_guided:
            return guided
        if len(rows) > 1:
            self._added, self._added_at = guided - rows[-1:], self.step_index
        elif self._added is not None:
            guided = guided + self._added
        return guided

    def advance(self, prediction: Tensor) -> None:
        """Take the guided ``prediction`` (1, channels, h, w) and compute the next input."""
        self.prediction = prediction
        self.last_input = (self.sample, self.timestep)
        self.step_index += 1
        for branch in self.branches:
            if branch.step_index == self.step_index:
                self.conditions = branch.conditions
                self._added = None
        try:
            self.sample, self.timestep = self.denoising.send(prediction)
        except StopIteration as finished:
            self.latents = finished.value


@torch.inference_mode()
def step(model: Network, trajectories: Sequence[Trajectory], max_rows: int = sys.maxsize) -> None:
    """Advance ``trajectories`` with latents of one shape by one stacked network call.

    More than ``max_rows`` rows take several calls. One whose prediction is not finite, or whose own calculation fails, stays
    where it is, with its `error` set; the others go on. An error that this raises comes from the calls, and leaves all where
    they are.
    """
    rows = [trajectory.rows for trajectory in trajectories]
    samples = torch.cat([each.sample.expand(count, -1, -1, -1) for each, count in zip(trajectories, rows, strict=True)])
    timesteps = torch.cat([each.timestep.float().expand(count) for each, count in zip(trajectories, rows, strict=True)])
    conditions = Conditions.stack([trajectory.active_conditions for trajectory in trajectories])
    starts = range(0, len(samples), min(max_rows, len(samples)))
    parts = [slice(start, start + max_rows) for start in starts]
    predictions = [model.predict_noise(samples[part], timesteps[part], conditions[part]) for part in parts]
    answers = (predictions[0] if len(predictions) == 1 else torch.cat(predictions)).split(rows)
    guided = [each.guide(model, answer) for each, answer in zip(trajectories, answers, strict=True)]
    if model.classifier is not None:
        model.classifier.apply(trajectories, guided)
    finite = torch.stack([prediction.sum() for prediction in guided]).isfinite().tolist()
    for trajectory, prediction, is_finite in zip(trajectories, guided, finite, strict=True):
        if not is_finite:
            trajectory.error = NotFiniteError()
            continue
        try:
            trajectory.advance(prediction)
        except Exception as error:
            trajectory.error = error


def denoise_all(model: Network, trajectories: Sequence[Trajectory], max_rows: int = 32) -> list[Tensor]:
    """Denoise ``trajectories`` and return their latents in order.

    A network call has at most ``max_rows`` rows. Raises its error, such as `NotFiniteError`, as soon as one cannot go on.
    """
    waiting = list(trajectories)
    while waiting:
        batch: list[Trajectory] = []
        while waiting and (not batch or sum(t.rows for t in batch) + waiting[0].rows <= max_rows):
            batch.append(waiting.pop(0))
        while running := [trajectory for trajectory in batch if not trajectory.done]:
            step(model, running)
            if error := next((trajectory.error for trajectory in running if trajectory.error), None):
                raise error
    return [trajectory.latents for trajectory in trajectories if trajectory.latents is not None]
