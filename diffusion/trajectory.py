"""One image on its way from noise, and the step that moves many of them with one call of the network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.errors import NotFinite
from diffusion.guidance import classifier_free_guidance
from diffusion.sampling import Denoising

# (latents, timesteps, prompt_embeds), a row each -> predictions, a row each
PredictNoise = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(eq=False)
class Trajectory:
    """A denoising under way and what guides it.

    ``prompt_embeds`` is (rows, tokens, width): the conditional row, after an unconditional one where guidance is used. `sample`
    and `timestep` are what the network is asked next; `prediction` is its last guided answer, to the question `asked`.
    """

    denoising: Denoising
    prompt_embeds: Tensor
    guidance_scale: float
    total: int
    completed: int = 0
    latents: Tensor | None = None
    prediction: Tensor | None = None
    asked: tuple[Tensor, Tensor] | None = None
    error: NotFinite | None = None

    def __post_init__(self) -> None:
        self.sample, self.timestep = next(self.denoising)

    @property
    def rows(self) -> int:
        """How many rows this takes in a call of the network."""
        return len(self.prompt_embeds)

    @property
    def done(self) -> bool:
        """Whether `latents` holds the clean result."""
        return self.latents is not None

    def advance(self, predictions: Tensor) -> None:
        """Guide the network's ``predictions`` (rows, channels, height, width) and go on to the next question."""
        *unconditional, conditional = predictions.float().split(1)
        guided = classifier_free_guidance(unconditional[0], conditional, self.guidance_scale) if unconditional else conditional
        self.prediction, self.asked = guided, (self.sample, self.timestep)
        self.completed += 1
        try:
            self.sample, self.timestep = self.denoising.send(guided)
        except StopIteration as finished:
            self.latents = finished.value


@torch.inference_mode()
def step(predict_noise: PredictNoise, trajectories: Sequence[Trajectory]) -> None:
    """Advance ``trajectories``, whose latents share one shape, by one evaluation in a single stacked call.

    One whose answer is not finite is left where it is, with its `error` set; the others go on.
    """
    rows = [trajectory.rows for trajectory in trajectories]
    samples = torch.cat([trajectory.sample.expand(trajectory.rows, -1, -1, -1) for trajectory in trajectories])
    timesteps = torch.cat([trajectory.timestep.float().expand(trajectory.rows) for trajectory in trajectories])
    prompt_embeds = torch.cat([trajectory.prompt_embeds for trajectory in trajectories])
    predictions = predict_noise(samples, timesteps, prompt_embeds)
    finite = predictions.isfinite().flatten(1).all(1).cpu()  # one look for all rows: on a GPU each would wait for it
    for trajectory, answer, sound in zip(trajectories, predictions.split(rows), finite.split(rows), strict=True):
        if sound.all():
            trajectory.advance(answer)
        else:
            trajectory.error = NotFinite()


def develop(predict_noise: PredictNoise, trajectories: Sequence[Trajectory], max_rows: int = 32) -> list[Tensor]:
    """Step ``trajectories`` to their ends, as many at a time as ``max_rows`` rows hold, and give their latents in order.

    Raises `NotFinite` as soon as one cannot go on.
    """
    waiting = list(trajectories)
    while waiting:
        batch: list[Trajectory] = []
        while waiting and (not batch or sum(t.rows for t in batch) + waiting[0].rows <= max_rows):
            batch.append(waiting.pop(0))
        while running := [trajectory for trajectory in batch if not trajectory.done]:
            step(predict_noise, running)
            if error := next((trajectory.error for trajectory in running if trajectory.error), None):
                raise error
    return [trajectory.latents for trajectory in trajectories if trajectory.latents is not None]
