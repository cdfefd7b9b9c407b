"""How much memory models need, and how much a device has."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import torch
from torch import nn

from diffusion.errors import ModelLoadError
from diffusion.families.model import ImageModel

FITS_NOT: Final = "Choose a smaller model, half precision (DTYPE), or another DEVICE."
USABLE_SHARE: Final = 0.8  # of a device's memory for models; the rest is for calls of their networks


def network_bytes(network: nn.Module) -> int:
    """Return the bytes of the weights of ``network``, also of one on the meta device."""
    tensors = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def model_bytes(model: ImageModel) -> int:
    """Return the bytes of the weights of ``model``."""
    return sum(map(network_bytes, networks_of_model(model)))


def bytes_by_part(model: ImageModel) -> Mapping[str, int]:
    """Return the bytes of the weights of ``model`` by what they are for."""
    found: Counter[str] = Counter()
    for network in networks_of_model(model):
        is_autoencoder = type(network).__name__.startswith("Autoencoder")
        part = "network" if network is model.family.denoiser else "autoencoder" if is_autoencoder else "text encoders"
        found[part] += network_bytes(network)
    return found


def check_fits(model: ImageModel, source: str, device: torch.device) -> str:
    """Return what ``model``, described without weights, needs of the memory of ``device``, as a sentence.

    Raises `ModelLoadError` if the device has less than its weights alone.
    """
    needed = model_bytes(model)
    total = total_bytes(device)
    parts = ", ".join(f"{part} {_gib(count)}" for part, count in bytes_by_part(model).items())
    has = "this machine" if device.type == "cpu" else "this card"
    need = f"it needs {_gib(needed)} GiB ({parts}), and {has} has {_gib(total)}."
    if needed > total:
        raise ModelLoadError(source, f"{need} {FITS_NOT}")
    return f"The model {source} can be loaded: {need}"


def _gib(count: int) -> str:
    return f"{count / 2**30:.2g}" if count < 2**30 else f"{count / 2**30:.1f}"


def networks_of_model(model: ImageModel) -> Iterable[nn.Module]:
    """Return the networks of ``model``."""
    found = [model.classifier and model.classifier.network]
    for value in vars(model.family).values():
        found += value if isinstance(value, (list, tuple)) else [value]
    return list({id(each): each for each in found if isinstance(each, nn.Module)}.values())


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
