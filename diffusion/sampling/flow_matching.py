"""diffusers' flow matching schedulers with the interface that the other ones have."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler
from torch import Tensor


class _FlowNoise:
    """The straight line from a picture to noise: x_t = (1 - sigma) x_0 + sigma noise.

    Lipman et al. 2023 (Flow Matching), section 4.1. Pure noise has sigma = 1, and the network sees the latents as they are.
    """

    init_noise_sigma = 1.0
    scale_noise: Any

    def scale_model_input(self, sample: Tensor, timestep: Any) -> Tensor:
        """Return ``sample``, which this kind of network sees unscaled."""
        return sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noise clean samples to the level of the scheduler's present step."""
        noised: Tensor = self.scale_noise(original_samples, timesteps, noise)
        return noised


class FlowEuler(_FlowNoise, FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]  # diffusers is not typed
    """Euler's method for flow matching."""


class FlowHeun(_FlowNoise, FlowMatchHeunDiscreteScheduler):  # type: ignore[misc]
    """Heun's method for flow matching."""

    def take_sigmas(self, sigmas: Tensor) -> None:
        """Step through ``sigmas``, which end with 0; each but the first and last is evaluated twice."""
        self.set_timesteps(len(sigmas) - 1)
        self.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        self.timesteps = self.sigmas[:-1] * self.config.num_train_timesteps


def flow_schedule(kind: type, config: Mapping[str, Any], steps: int, mu: float, *, as_trained: bool = False) -> Any:
    """Return a scheduler of ``kind`` with evenly spaced noise levels from 1 to 1 / ``steps``, then shifted.

    With ``as_trained``, they are spaced from the first to the last level of training.

    ``mu`` is the logarithm of the shift where ``config`` asks for one that depends on the size of a picture; else the shift of
    ``config`` counts. Esser et al. 2024 (Stable Diffusion 3), section 5.3.2. Heun's method takes the noise levels of Euler's.
    """
    euler = FlowEuler.from_config(dict(config))
    sigmas = None if as_trained else torch.linspace(1, 1 / steps, steps, dtype=torch.float64).tolist()
    euler.set_timesteps(steps, sigmas=sigmas, mu=mu)
    if kind is not FlowHeun:
        return euler
    heun = FlowHeun(num_train_timesteps=euler.config.num_train_timesteps)
    heun.take_sigmas(euler.sigmas)
    return heun


def shift_of_size(config: Mapping[str, Any], tokens: int) -> float:
    """Return ``mu`` of `flow_schedule` for a picture of ``tokens`` patches.

    It is linear between those of two sizes in ``config``, and diffusers' defaults are those of FLUX.1.
    """
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return float(least + (most - least) * (tokens - low) / (high - low))
