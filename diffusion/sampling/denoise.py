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
    UniPCMultistepScheduler,
)
from torch import Tensor

from diffusion.sampling.solver import Solver, linearize

# Yields (x_t, t), is sent the guided prediction for it, returns x_0.
Denoising = Generator[tuple[Tensor, Tensor], Tensor, Tensor]


@dataclass(frozen=True)
class Sampler:
    """A scheduler class of diffusers, the settings that differ from the model's own, and whether its step draws noise."""

    scheduler: Any
    settings: dict[str, Any] = field(default_factory=dict)
    draws_noise: bool = False

    def solver(self, model_config: dict[str, Any], steps: int, start_step: int = 0) -> Solver:
        """Read off what the scheduler does in ``steps`` steps from ``start_step`` on.

        Predictions are not clipped, which some models' configurations ask for: latents have no range.
        """
        scheduler = self.scheduler.from_config({**model_config, "clip_sample": False, "thresholding": False}, **self.settings)
        scheduler.set_timesteps(steps)
        return linearize(scheduler, start_step, self.draws_noise)


SAMPLERS = {
    "lms": Sampler(LMSDiscreteScheduler),
    "ddim": Sampler(DDIMScheduler),
    "euler": Sampler(EulerDiscreteScheduler),
    "euler_a": Sampler(EulerAncestralDiscreteScheduler, draws_noise=True),
    "heun": Sampler(HeunDiscreteScheduler),
    "dpm++": Sampler(DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "unipc": Sampler(UniPCMultistepScheduler),
}


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
class InpaintContext:
    """What of a picture is to stay: its clean ``latents``, the ``noise`` they started with and, as 1, the cells to draw anew.

    ``mask`` is (1, 1, height, width).
    """

    latents: Tensor
    noise: Tensor
    mask: Tensor

    def blend_known(self, latents: Tensor, solver: Solver, step: int) -> Tensor:
        """Put the known part into ``latents``, noised to the level of step ``step``, clean after the last.

        Lugmayr et al. 2022 (RePaint), eq. 8, with the same noise at every step.
        """
        return self.mask * latents + (1 - self.mask) * solver.add_noise(self.latents, self.noise, step)


def denoise(latents: Tensor, solver: Solver, generator: torch.Generator, inpaint: InpaintContext | None = None) -> Denoising:
    """Develop ``latents`` (1, channels, height, width), float32, by the steps of ``solver`` to a clean image.

    x_{i+1} = sum_j a_ij x_{i-j} + b_ij eps_{i-j} + c_i z, with the solver's weights a and b of latents and predictions, and z
    unit noise from ``generator``. What is ``inpaint`` is put back after each step.
    """
    past: list[Tensor] = []
    for index, step in enumerate(solver.steps):
        prediction = yield step.scale * latents, step.timestep
        past = [latents, prediction, *past][: solver.memory]
        latents = step.combine(past)
        if step.noise:
            latents.add_(torch.randn(latents.shape, generator=generator), alpha=step.noise)
        if inpaint is not None:
            latents = inpaint.blend_known(latents, solver, index + 1)
    return latents
