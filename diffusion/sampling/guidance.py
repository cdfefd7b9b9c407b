"""Classifier-free guidance, and the estimate of clean latents from a prediction."""

import math

import torch
from torch import Tensor


def classifier_free_guidance(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Push the prediction away from the unconditional one: eps_u + s (eps_c - eps_u).

    Ho & Salimans 2022, eq. 6, in the form in which s = 1 means no guidance. Holds for epsilon and v-prediction alike, as
    one is linear in the other. All tensors have the same shape.
    """
    return torch.lerp(unconditional, conditional, scale)


def predict_x_0(x_t: Tensor, model_output: Tensor, alpha_bar_t: Tensor, prediction_type: str) -> Tensor:
    """Estimate the clean latents from a prediction at ``alpha_bar_t`` in (0, 1).

    ``x_t`` is the variance-preserving sample, as the network sees it. For "epsilon": Song et al. 2021 (DDIM), eq. 9; for
    "v_prediction": Salimans & Ho 2022, section 4.
    """
    signal = torch.sqrt(alpha_bar_t)
    spread = torch.sqrt(1 - alpha_bar_t)
    if prediction_type == "v_prediction":
        return signal * x_t - spread * model_output
    return (x_t - spread * model_output) / signal


def guidance_embedding(scale: float, width: int) -> Tensor:
    """Embed a guidance scale as consistency models read it: (1, ``width``) in float32.

    Sines and cosines of 1000 (s - 1) at ``width`` / 2 frequencies, as those of timesteps: Luo et al. 2023 (LCM), section 4.2.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000.0) / (half - 1)))
    angles = torch.tensor([1000.0 * (scale - 1)])[:, None] * frequencies
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width % 2))
