"""How much memory models need, and how much a device has."""

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch
from torch import nn

from diffusion.families.model import ImageModel

USABLE_SHARE: Final = 0.8  # of a device's memory for models; the rest is for calls of their networks


def network_bytes(network: nn.Module, device: torch.device | None = None) -> int:
    """Return the bytes of the weights of ``network``, also of one on the meta device.

    Those on other devices than ``device`` do not count, if it is given.
    """
    tensors = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values() if device is None or tensor.device.type == device.type)


def model_bytes(model: ImageModel) -> int:
    """Return the bytes of the weights of ``model`` on its device."""
    return sum(network_bytes(network, model.device) for network in networks_of_model(model))


def bytes_by_part(model: ImageModel) -> dict[str, int]:
    """Return the bytes of the weights of ``model`` by what they are for."""
    found: Counter[str] = Counter()
    for network in networks_of_model(model):
        is_autoencoder = type(network).__name__.startswith("Autoencoder")
        draws = network is model.family.denoiser or network is model.student
        part = "network" if draws else "autoencoder" if is_autoencoder else "text encoders"
        found[part] += network_bytes(network)
    return dict(found)


def networks_of_model(model: ImageModel) -> Iterable[nn.Module]:
    """Return the networks of ``model``."""
    found = [model.classifier and model.classifier.network, model.student]
    for value in vars(model.family).values():
        found += value if isinstance(value, (list, tuple)) else [value]
    return list({id(each): each for each in found if isinstance(each, nn.Module)}.values())


def float32_bytes(model: ImageModel) -> int:
    """Return the bytes that the weights of ``model`` would take in float32."""
    weights = {id(tensor): tensor for network in networks_of_model(model) for tensor in network.parameters()}
    return 4 * sum(tensor.numel() for tensor in weights.values())


def available_bytes() -> int:
    """Return the memory of this machine that programs can still take, or half of all where that is unknown."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return total_bytes(torch.device("cpu")) // 2


def device_bytes(device: torch.device) -> int:
    """Return the bytes that models may take of the memory of ``device``."""
    return int(USABLE_SHARE * total_bytes(device))


def total_bytes(device: torch.device) -> int:
    """Return the memory of ``device``, or that of this machine for a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return 16 << 30
