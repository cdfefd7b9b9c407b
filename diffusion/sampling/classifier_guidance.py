"""Classifier guidance towards a label of a classifier of noisy latents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from diffusion.request import ImageRequest


@dataclass(frozen=True)
class LabelGuidance:
    """The index of the label that an image is pushed towards, and how hard."""

    label: int
    scale: float


class Guidable(Protocol):
    """The part of a `Trajectory` that classifier guidance reads."""

    sample: Tensor
    timestep: Tensor
    label_guidance: LabelGuidance | None


class ClassifierGuidance:
    """Guides images by ``network``, a classifier of noisy latents in float32.

    ``alpha_bar`` looks up the noise levels of timesteps, ``prediction_type`` says what the denoising network predicts.
    """

    def __init__(self, network: Any, alpha_bar: Callable[[Tensor], Tensor], prediction_type: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self.labels: tuple[str, ...] = network.labels
        self._alpha_bar = alpha_bar
        self._prediction_type = prediction_type

    def guidance_of(self, request: ImageRequest) -> LabelGuidance | None:
        """Return the label and scale of ``request``, None without a label or scale."""
        if not request.uses_classifier:
            return None
        return LabelGuidance(self.labels.index(request.guide_label), request.label_scale)

    def apply(self, trajectories: Sequence[Guidable], predictions: list[Tensor]) -> None:
        """Guide ``predictions`` in place with one stacked call of the classifier.

        Predictions of trajectories without `LabelGuidance` stay unchanged.
        """
        guided = [(index, each, each.label_guidance) for index, each in enumerate(trajectories) if each.label_guidance]
        if not guided:
            return
        x_t = torch.cat([trajectory.sample for _, trajectory, _ in guided]).float()
        timesteps = torch.stack([trajectory.timestep.float() for _, trajectory, _ in guided])
        labels = torch.tensor([guidance.label for _, _, guidance in guided])
        gradients = self.gradient(x_t, timesteps, labels).split(1)
        for (index, _, guidance), gradient, alpha_bar_t in zip(guided, gradients, self._alpha_bar(timesteps), strict=True):
            predictions[index] = classifier_guidance(
                predictions[index], gradient, alpha_bar_t, scale=guidance.scale, prediction_type=self._prediction_type
            )

    def gradient(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Return grad_x log p(label | x_t) in the shape of ``latents``.

        ``latents`` are (rows, channels, h, w); ``timesteps`` and ``labels`` are (rows,).
        """
        device = self.network.device
        gradient: Tensor = self.network.gradient(latents.to(device), timesteps.to(device), labels.to(device))
        return gradient.cpu()


def classifier_guidance(
    model_output: Tensor, gradient: Tensor, alpha_bar_t: Tensor, *, scale: float, prediction_type: str
) -> Tensor:
    """Move the prediction towards the label of a classifier's ``gradient``.

    eps_hat = eps - sqrt(1 - alpha_bar_t) s grad_x log p(y | x_t): Dhariwal & Nichol 2021, eq. 14, for "epsilon". For
    "v_prediction": at a given x_t, eps = sqrt(alpha_bar_t) v + sqrt(1 - alpha_bar_t) x_t, so that eps moves sqrt(alpha_bar_t)
    times as far as v, and v_hat = v - sqrt((1 - alpha_bar_t) / alpha_bar_t) s grad_x log p(y | x_t). In both cases the
    estimate of x_0 moves by (1 - alpha_bar_t) / sqrt(alpha_bar_t) s grad_x log p(y | x_t).

    ``gradient``, like ``model_output``, is taken at the variance-preserving sample; ``alpha_bar_t`` is in (0, 1).
    """
    step = torch.sqrt(1 - alpha_bar_t) * scale * gradient
    if prediction_type == "v_prediction":
        step = step / torch.sqrt(alpha_bar_t)
    return model_output - step
