"""A denoiser's calls by OpenVINO, which computes them on CPUs faster than torch does (extra ``openvino``)."""

import importlib.util
import warnings
from collections.abc import Sequence
from copy import copy, deepcopy
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from diffusion.backends.cuda_graphs import Network

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


class Denoising(Protocol):
    """The part of a family that is converted: its ``predict`` calls its ``denoiser``, of the dtype ``dtype``."""

    denoiser: Any
    dtype: torch.dtype

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Return the prediction."""


def is_installed() -> bool:
    """Whether there is OpenVINO."""
    return importlib.util.find_spec("openvino") is not None


class _Prediction(nn.Module):
    """A family's `predict` in float32 with tensors by position, as a converter wants it; conditions are named ``names``."""

    def __init__(self, family: Denoising, names: Sequence[str]) -> None:
        super().__init__()
        self.denoiser = deepcopy(family.denoiser).float()
        self._family = copy(family)
        self._family.denoiser = self.denoiser
        self._names = names

    def forward(self, latents: Tensor, timesteps: Tensor, *conditions: Tensor) -> Tensor:
        return self._family.predict(latents, timesteps, **dict(zip(self._names, conditions, strict=True)))


def convert(family: Denoising, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Any:
    """Return the denoiser of ``family`` as OpenVINO's network in float32, for any number of rows and any sides.

    The tensors are those of an example call.
    """
    import openvino

    inputs = [latents, timesteps, *conditions.values()]
    example = tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in inputs)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces, which torch calls deprecated
        converted = openvino.convert_model(_Prediction(family, list(conditions)), example_input=example)
    sides = [-1, latents.shape[1], -1, -1]
    shapes = (sides, *([-1, *tensor.shape[1:]] for tensor in inputs[1:]))
    converted.reshape({given: openvino.PartialShape(shape) for given, shape in zip(converted.inputs, shapes, strict=True)})
    return converted


def ready(converted: Any, dtype: torch.dtype) -> Network:
    """Make a ``converted`` network callable on the CPU, computing in ``dtype``; its outputs are in float32."""
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": PRECISIONS[dtype]}
    compiled = openvino.Core().compile_model(converted, "CPU", settings)

    def call(latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        inputs = (latents, timesteps, *conditions.values())
        arrays = [np.asarray(tensor.float() if tensor.is_floating_point() else tensor) for tensor in inputs]
        return torch.from_numpy(compiled(arrays)[0].copy())

    return call


class OpenVino:
    """Calls the denoiser of ``family`` on the CPU, for any number of rows and any latents whose sides `fits` allows.

    Converting takes seconds to minutes. Like the denoiser itself it is for one thread at a time.
    """

    def __init__(self, family: Denoising, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> None:
        # Sides that every level halves leave no trace in the converted network; others would need a size of their own at each.
        levels = len(getattr(family.denoiser.config, "block_out_channels", (0,)))
        self._factor = 2 ** (levels - 1)
        self._network = ready(convert(family, latents, timesteps, **conditions), family.dtype)

    def fits(self, latents: Tensor) -> bool:
        """Whether the converted network takes latents of this shape."""
        return all(side % self._factor == 0 for side in latents.shape[2:])

    def __call__(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Return the prediction in float32."""
        return self._network(latents, timesteps, **conditions)
