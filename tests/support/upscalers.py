"""Upscalers of toy size: a plain function, and ESRGAN files with random weights."""

import importlib
import sys
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from diffusion.images.upscaler import Upscaler

GROWTH = 32  # channels that each convolution of a dense block adds


def nearest(scale=4, name="nearest"):
    """An upscaler that repeats pixels."""

    def network(pixels):
        return F.interpolate(pixels, scale_factor=scale, mode="nearest")

    return Upscaler(network, scale=scale, name=name, like=torch.empty(0))


def spandrel():
    """Import spandrel, or skip the test where it is missing.

    Two networks in it, none of them an upscaler, take a function from torchvision, whose build has to match torch's. Where it
    is missing, something stands in for it.
    """
    pytest.importorskip("einops")
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    stands_in = {} if importlib.util.find_spec("torchvision") else {name: ModuleType(name) for name in names}
    for module in stands_in.values():
        module.InterpolationMode = module.rotate = module.normalize = None
    sys.modules.update(stands_in)
    try:
        return pytest.importorskip("spandrel")
    finally:
        for name in stands_in:
            del sys.modules[name]


def write_esrgan(path, width=8, ups=2, out_channels=3):
    """Write an ESRGAN of one block that enlarges by 2 to the power of ``ups``."""
    generator = torch.Generator().manual_seed(1)
    weights = {}

    def add(name, read, made):
        weights[f"{name}.weight"] = torch.randn(made, read, 3, 3, generator=generator) * 0.5 / (read * 9) ** 0.5
        weights[f"{name}.bias"] = torch.rand(made, generator=generator) * 0.2

    add("conv_first", 3, width)
    for dense in (1, 2, 3):
        for number in range(1, 6):
            made = GROWTH if number < 5 else width
            add(f"body.0.rdb{dense}.conv{number}", width + (number - 1) * GROWTH, made)
    for name in ("conv_body", *(f"conv_up{number + 1}" for number in range(ups)), "conv_hr"):
        add(name, width, width)
    add("conv_last", width, out_channels)
    save_file(weights, path)
    return path
