"""A UNet's calls by OpenVINO, which computes them on CPUs faster than torch does (extra ``openvino``)."""

import importlib.util
import warnings
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from diffusion.backends.cuda_graphs import Network

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


def is_installed() -> bool:
    """Whether there is OpenVINO."""
    return importlib.util.find_spec("openvino") is not None


class _Prediction(nn.Module):
    """The UNet with plain tensors in and out, as a converter wants it."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        return self.unet(latents, timesteps, prompt_embeds, return_dict=False)[0]


def convert(unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Any:
    """Give ``unet``, of which an example call is told, as OpenVINO's network in float32, for any number of rows and sides."""
    import openvino

    precise = _Prediction(deepcopy(unet).float())
    example = (latents.float(), timesteps.float(), prompt_embeds.float())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces, which torch calls deprecated
        converted = openvino.convert_model(precise, example_input=example)
    rows, (channels, *_), tokens = -1, latents.shape[1:], list(prompt_embeds.shape[1:])
    shapes = ([rows, channels, -1, -1], [rows], [rows, *tokens])
    converted.reshape({given: openvino.PartialShape(shape) for given, shape in zip(converted.inputs, shapes, strict=True)})
    return converted


def ready(converted: Any, dtype: torch.dtype) -> Network:
    """Make a ``converted`` network callable on the CPU, computing in ``dtype``; its answers are in float32."""
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": PRECISIONS[dtype]}
    compiled = openvino.Core().compile_model(converted, "CPU", settings)
    return lambda *inputs: torch.from_numpy(compiled([np.asarray(tensor.float()) for tensor in inputs])[0].copy())


class OpenVino:
    """Calls ``unet``, on the CPU, for any number of rows and any latents whose sides `fits` allows.

    Converting takes seconds to minutes. Like ``unet`` itself it is for one thread at a time.
    """

    def __init__(self, unet: UNet2DConditionModel, latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> None:
        # Sides that every level halves leave no trace in the converted network; others would need a size of their own at each.
        self._factor = 2 ** (len(unet.config.block_out_channels) - 1)
        self._ask = ready(convert(unet, latents, timesteps, prompt_embeds), unet.dtype)

    def fits(self, latents: Tensor) -> bool:
        """Whether latents of this shape can be asked about."""
        return all(side % self._factor == 0 for side in latents.shape[2:])

    def __call__(self, latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Give the prediction in float32."""
        return self._ask(latents, timesteps, prompt_embeds)
