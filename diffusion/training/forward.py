"""The forward process and the target of the denoiser, in the papers' notation."""

import torch
from torch import Tensor


def q_sample(x_0: Tensor, noise: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """Draw x_t ~ q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I).

    Ho et al. 2020, eq. 4. ``x_0`` and ``noise`` are (batch, channels, height, width); ``alpha_bar_t`` is (batch,), one noise
    level a row.
    """
    signal, spread = _levels(alpha_bar_t)
    return signal * x_0 + spread * noise


def velocity(x_0: Tensor, noise: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """Return the target v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0.

    Salimans & Ho 2022, section 4.
    """
    signal, spread = _levels(alpha_bar_t)
    return signal * noise - spread * x_0


def stratified_timesteps(batch: int, num_train_timesteps: int, generator: torch.Generator) -> Tensor:
    """Draw one timestep from each of ``batch`` equal slices of all timesteps.

    They lie in [0, ``num_train_timesteps``) and on the device of ``generator``.
    """
    device = generator.device
    slices = (torch.arange(batch, device=device) + torch.rand(batch, generator=generator, device=device)) / batch
    return (slices * num_train_timesteps).long().clamp(max=num_train_timesteps - 1)


def _levels(alpha_bar_t: Tensor) -> tuple[Tensor, Tensor]:
    alpha_bar = alpha_bar_t[:, None, None, None]
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
