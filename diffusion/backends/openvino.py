"""A denoiser by OpenVINO, which is faster than torch on CPUs (extra ``openvino``)."""

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
    """The converted part of a family: ``predict`` and the ``denoiser`` that it calls.

    ``dtype`` is that of the denoiser.
    """

    denoiser: Any
    dtype: torch.dtype

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Return the prediction."""


def is_installed() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


class _Prediction(nn.Module):
    """A family's `predict` in float32 with positional tensors, for the converter.

    ``names`` are those of the conditions.
    """

    def __init__(self, family: Denoising, names: Sequence[str]) -> None:
        super().__init__()
        self.denoiser = deepcopy(family.denoiser).float()
        self._family = copy(family)
        self._family.denoiser = self.denoiser
        self._names = names

    def forward(self, latents: Tensor, timesteps: Tensor, *conditions: Tensor) -> Tensor:
        return self._family.predict(latents, timesteps, **dict(zip(self._names, conditions, strict=True)))


def convert(family: Denoising, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Any:
    """Convert the denoiser of ``family`` to a float32 network of OpenVINO.

    It takes any number of rows and any sides. The tensors are those of an example call.
    """
    import openvino

    inputs = [latents, timesteps, *conditions.values()]
    example = tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in inputs)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter uses tracing, which torch calls deprecated
        converted = openvino.convert_model(_Prediction(family, list(conditions)), example_input=example)
    sides = [-1, latents.shape[1], -1, -1]
    shapes = (sides, *([-1, *tensor.shape[1:]] for tensor in inputs[1:]))
    converted.reshape({given: openvino.PartialShape(shape) for given, shape in zip(converted.inputs, shapes, strict=True)})
    return converted


def ready(converted: Any, dtype: torch.dtype) -> Network:
    """Compile a ``converted`` network for the CPU.

    It computes in ``dtype``; its outputs are in float32. Conditions come in the order in which they were converted.
    """
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": PRECISIONS[dtype]}
    compiled = openvino.Core().compile_model(converted, "CPU", settings)

    def call(latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        inputs = (latents, timesteps, *conditions.values())
        arrays = [np.asarray(tensor.float() if tensor.is_floating_point() else tensor) for tensor in inputs]
        return torch.from_numpy(compiled(arrays)[0].copy())

    return call


class OpenVino:
    """Calls the denoiser of ``family`` on the CPU.

    It takes any number of rows, and latents whose sides `fits` allows. Converting takes seconds to minutes. Like the denoiser
    itself it is for one thread at a time.
    """

    def __init__(self, family: Denoising, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> None:
        # Sides that every level halves evenly keep the converted network independent of the size.
        levels = len(getattr(family.denoiser.config, "block_out_channels", (0,)))
        self._factor = 2 ** (levels - 1)
        self._network = ready(convert(family, latents, timesteps, **conditions), family.dtype)
        self._names = tuple(conditions)

    def fits(self, latents: Tensor) -> bool:
        """Whether the converted network takes latents of this shape."""
        return all(side % self._factor == 0 for side in latents.shape[2:])

    def __call__(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Return the prediction in float32."""
        return self._network(latents, timesteps, **{name: conditions[name] for name in self._names})
