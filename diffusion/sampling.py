"""The samplers and the one denoising loop, written for a single image with `yield` where the network is called."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from torch import Tensor

# Yields (x_t, t), is sent the guided prediction for it, returns x_0.
Denoising = Generator[tuple[Tensor, Tensor], Tensor, Tensor]


@dataclass(frozen=True)
class Sampler:
    """A scheduler class of diffusers, the settings that differ from the model's own, and whether its step draws noise."""

    scheduler: Any
    settings: dict[str, Any] = field(default_factory=dict)
    draws_noise: bool = False

    def build(self, model_config: dict[str, Any], steps: int) -> SchedulerMixin:
        """Make a scheduler for one trajectory; schedulers keep their history on themselves and cannot be shared.

        Its tables are on the CPU, and so are the latents that it steps: they are small, and on a GPU each of its many little
        operations would cost more than on them, and some would wait for the GPU.
        """
        scheduler = self.scheduler.from_config(model_config, **self.settings)
        scheduler.set_timesteps(steps)
        return scheduler


SAMPLERS = {
    "lms": Sampler(LMSDiscreteScheduler),
    "ddim": Sampler(DDIMScheduler),
    "euler": Sampler(EulerDiscreteScheduler),
    "euler_a": Sampler(EulerAncestralDiscreteScheduler, draws_noise=True),
    "heun": Sampler(HeunDiscreteScheduler),
    "dpm++": Sampler(DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "unipc": Sampler(UniPCMultistepScheduler),
}


def initial_latents(noise: Tensor, scheduler: Any) -> Tensor:
    """Scale unit ``noise`` to the scheduler's first noise level."""
    return noise * scheduler.init_noise_sigma


def noised_latents(latents: Tensor, noise: Tensor, scheduler: Any, start_step: int) -> tuple[Tensor, int]:
    """Noise clean ``latents`` to the level of step ``start_step``.

    Returns them with the index into ``scheduler.timesteps`` to go on from (second-order schedulers list each step twice).
    """
    index = start_step * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(index)
    return scheduler.add_noise(latents, noise, scheduler.timesteps[index : index + 1]), index


def slerp(start: Tensor, end: Tensor, weight: float) -> Tensor:
    """Go a share ``weight`` in [0, 1] of the way from ``start`` to ``end`` along the arc between them.

    Shoemake 1985. A straight way would lead through noise of too little variance, from which pictures come out grey. Between
    tensors that point the same way it is straight nevertheless.
    """
    cosine = torch.sum(start * end) / (start.norm() * end.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    if torch.sin(angle) < 1e-4:
        return torch.lerp(start, end, weight)
    return (torch.sin((1 - weight) * angle) * start + torch.sin(weight * angle) * end) / torch.sin(angle)


@dataclass(frozen=True)
class Known:
    """What of a picture is to stay: its clean ``latents``, the ``noise`` they started with and, as 1, the cells to draw anew.

    ``mask`` is (1, 1, height, width).
    """

    latents: Tensor
    noise: Tensor
    mask: Tensor

    def put_back(self, latents: Tensor, scheduler: Any, index: int) -> Tensor:
        """Put the known part into ``latents``, noised to the level of ``scheduler.timesteps[index]``, clean after the last.

        Lugmayr et al. 2022 (RePaint), eq. 8, with the same noise at every step.
        """
        known = self.latents
        if index < len(scheduler.timesteps):
            known = scheduler.add_noise(known, self.noise, scheduler.timesteps[index : index + 1])
        return self.mask * latents + (1 - self.mask) * known


def denoise(
    latents: Tensor, scheduler: Any, *, start: int = 0, generator: torch.Generator | None = None, known: Known | None = None
) -> Denoising:
    """Develop ``latents`` (1, channels, height, width), float32, from ``scheduler.timesteps[start]`` to a clean image.

    ``generator`` feeds samplers that draw noise in their steps; what is ``known`` is put back after each.
    """
    extra = {"generator": generator} if generator is not None else {}
    for index, t in enumerate(scheduler.timesteps[start:], start + 1):
        prediction = yield scheduler.scale_model_input(latents, t), t
        latents = scheduler.step(prediction, t, latents, **extra).prev_sample
        if known is not None:
            latents = known.put_back(latents, scheduler, index)
    return latents
