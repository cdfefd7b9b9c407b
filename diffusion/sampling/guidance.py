"""How predictions are combined before the sampler sees them."""

import torch
from torch import Tensor


def classifier_free_guidance(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Push the prediction away from the unconditional one: eps_u + s (eps_c - eps_u).

    Ho & Salimans 2022, eq. 6, in the form in which s = 1 means no guidance. Holds for epsilon and v-prediction alike, as
    one is linear in the other. All tensors have the same shape.
    """
    return torch.lerp(unconditional, conditional, scale)


def classifier_guidance(
    model_output: Tensor, gradient: Tensor, alpha_bar_t: Tensor, scale: float, prediction_type: str
) -> Tensor:
    """Push the prediction to where a classifier is surer: eps_hat = eps - sqrt(1 - alpha_bar_t) s grad_x log p(y | x_t).

    Dhariwal & Nichol 2021, eq. 14, for "epsilon". For "v_prediction": at a given x_t, eps = sqrt(alpha_bar_t) v +
    sqrt(1 - alpha_bar_t) x_t, so that eps moves sqrt(alpha_bar_t) times as far as v, and v_hat = v -
    sqrt((1 - alpha_bar_t) / alpha_bar_t) s grad_x log p(y | x_t). In both cases the estimate of x_0 moves by
    (1 - alpha_bar_t) / sqrt(alpha_bar_t) s grad_x log p(y | x_t).

    ``gradient``, like ``model_output``, is taken at the variance-preserving sample; ``alpha_bar_t`` is in (0, 1).
    """
    step = torch.sqrt(1 - alpha_bar_t) * scale * gradient
    if prediction_type == "v_prediction":
        step = step / torch.sqrt(alpha_bar_t)
    return model_output - step


def predict_x_0(x_t: Tensor, model_output: Tensor, alpha_bar_t: Tensor, prediction_type: str) -> Tensor:
    """Estimate the clean latents from a prediction at noise level ``alpha_bar_t`` in (0, 1).

    ``x_t`` is the variance-preserving sample, as the network sees it. For "epsilon": Song et al. 2021 (DDIM), eq. 9; for
    "v_prediction": Salimans & Ho 2022, section 4.
    """
    signal, spread = torch.sqrt(alpha_bar_t), torch.sqrt(1 - alpha_bar_t)
    if prediction_type == "v_prediction":
        return signal * x_t - spread * model_output
    return (x_t - spread * model_output) / signal
