"""One image on its way from noise, and the step that moves many of them with one call of the network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from diffusion.errors import NotFiniteError
from diffusion.sampling.denoise import Denoising
from diffusion.sampling.guidance import classifier_free_guidance, classifier_guidance


class Networks(Protocol):
    """What a step asks of a model; all tensors hold one row for each question."""

    prediction_type: str

    def predict_noise(self, latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor: ...  # noqa: D102
    def classifier_gradient(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor: ...  # noqa: D102
    def alpha_bar(self, timesteps: Tensor) -> Tensor: ...  # noqa: D102


@dataclass(frozen=True)
class LabelGuidance:
    """The number of the classifier's label that a picture is pushed towards, and how hard."""

    label: int
    scale: float


@dataclass(frozen=True)
class Branch:
    """After how many evaluations the network hears something else, and what: as many rows as before."""

    step_index: int
    prompt_embeds: Tensor


@dataclass(eq=False)
class Trajectory:
    """A denoising under way and what guides it.

    ``prompt_embeds`` is (rows, tokens, width): the conditional row, after an unconditional one where guidance is used. `sample`
    and `timestep` are what the network is asked next; `prediction` is its last guided answer, to the question `last_input`.
    ``label_guidance`` is None where no classifier has a say; ``branches`` are in the order of their evaluations. Guidance is used for
    the evaluations ``guided``, from the first to before the second, and the conditional row alone for the others.
    """

    denoising: Denoising
    prompt_embeds: Tensor
    guidance_scale: float
    total: int
    label_guidance: LabelGuidance | None = None
    branches: tuple[Branch, ...] = ()
    guided: tuple[float, float] = (0, math.inf)
    step_index: int = 0
    latents: Tensor | None = None
    prediction: Tensor | None = None
    last_input: tuple[Tensor, Tensor] | None = None
    error: NotFiniteError | None = None

    def __post_init__(self) -> None:
        self.sample, self.timestep = next(self.denoising)

    @property
    def active_prompt_embeds(self) -> Tensor:
        """The rows of `prompt_embeds` that the next call of the network hears."""
        first, end = self.guided
        return self.prompt_embeds if first <= self.step_index < end else self.prompt_embeds[-1:]

    @property
    def rows(self) -> int:
        """How many rows this takes in the next call of the network."""
        return len(self.active_prompt_embeds)

    @property
    def done(self) -> bool:
        """Whether `latents` holds the clean result."""
        return self.latents is not None

    def guide(self, predictions: Tensor) -> Tensor:
        """Make one prediction of the network's (rows, channels, height, width) by classifier-free guidance."""
        *unconditional, conditional = predictions.float().split(1)
        return classifier_free_guidance(unconditional[0], conditional, self.guidance_scale) if unconditional else conditional

    def advance(self, guided: Tensor) -> None:
        """Take the ``guided`` prediction (1, channels, height, width) and go on to the next question."""
        self.prediction, self.last_input = guided, (self.sample, self.timestep)
        self.step_index += 1
        for branch in self.branches:
            if branch.step_index == self.step_index:
                self.prompt_embeds = branch.prompt_embeds
        try:
            self.sample, self.timestep = self.denoising.send(guided)
        except StopIteration as finished:
            self.latents = finished.value


@torch.inference_mode()
def step(model: Networks, trajectories: Sequence[Trajectory]) -> None:
    """Advance ``trajectories``, whose latents share one shape, by one evaluation in a single stacked call.

    One whose answer is not finite is left where it is, with its `error` set; the others go on.
    """
    rows = [trajectory.rows for trajectory in trajectories]
    samples = torch.cat([trajectory.sample.expand(trajectory.rows, -1, -1, -1) for trajectory in trajectories])
    timesteps = torch.cat([trajectory.timestep.float().expand(trajectory.rows) for trajectory in trajectories])
    prompt_embeds = torch.cat([trajectory.active_prompt_embeds for trajectory in trajectories])
    predictions = model.predict_noise(samples, timesteps, prompt_embeds).split(rows)
    guided = [trajectory.guide(answer) for trajectory, answer in zip(trajectories, predictions, strict=True)]
    _guide_by_label(model, trajectories, guided)
    finite = torch.stack([answer.sum() for answer in guided]).isfinite().tolist()
    for trajectory, answer, sound in zip(trajectories, guided, finite, strict=True):
        if sound:
            trajectory.advance(answer)
        else:
            trajectory.error = NotFiniteError()


def _guide_by_label(model: Networks, trajectories: Sequence[Trajectory], guided: list[Tensor]) -> None:
    """Put classifier guidance on those predictions whose trajectory is steered, with one stacked call of the classifier."""
    steered = [(index, each, each.label_guidance) for index, each in enumerate(trajectories) if each.label_guidance]
    if not steered:
        return
    x_t = torch.cat([trajectory.sample for _, trajectory, _ in steered]).float()
    timesteps = torch.stack([trajectory.timestep.float() for _, trajectory, _ in steered])
    labels = torch.tensor([label_guidance.label for _, _, label_guidance in steered])
    gradients = model.classifier_gradient(x_t, timesteps, labels).split(1)
    for (index, _, label_guidance), gradient, alpha_bar_t in zip(steered, gradients, model.alpha_bar(timesteps), strict=True):
        guided[index] = classifier_guidance(guided[index], gradient, alpha_bar_t, label_guidance.scale, model.prediction_type)


def develop(model: Networks, trajectories: Sequence[Trajectory], max_rows: int = 32) -> list[Tensor]:
    """Step ``trajectories`` to their ends, as many at a time as ``max_rows`` rows hold, and give their latents in order.

    Raises `NotFiniteError` as soon as one cannot go on.
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
