"""diffusers' flow matching schedulers with the interface that the other ones have."""

from typing import Any

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
