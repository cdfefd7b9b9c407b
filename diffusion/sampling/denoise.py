"""The denoising loop of a single image; it yields where the network is called."""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.sampling.solver import Solver

# Yields (x_t, t), is sent the guided prediction for it, returns x_0.
Denoising = Generator[tuple[Tensor, Tensor], Tensor, Tensor]


@dataclass(frozen=True)
class InpaintContext:
    """The clean ``latents`` of the picture to inpaint and their initial ``noise``.

    ``mask`` (1, 1, height, width) is 1 in the cells that are drawn anew and 0 in those that stay.
    """

    latents: Tensor
    noise: Tensor
    mask: Tensor

    def blend_known(self, latents: Tensor, solver: Solver, step: int) -> Tensor:
        """Replace the known part of ``latents`` by its value at the level of ``step``.

        After the last step the known part is clean. Lugmayr et al. 2022 (RePaint), eq. 8, with the same noise at every step.
        """
        return self.mask * latents + (1 - self.mask) * solver.add_noise(self.latents, self.noise, step)


def denoise(latents: Tensor, solver: Solver, generator: torch.Generator, inpaint: InpaintContext | None = None) -> Denoising:
    """Denoise float32 ``latents`` (1, channels, h, w) by the steps of ``solver``.

    x_{i+1} = sum_j a_ij x_{i-j} + b_ij eps_{i-j} + c_i z, with the solver's weights a and b of latents and predictions, and z
    unit noise from ``generator``. With ``inpaint``, the known part is restored after each step.
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
