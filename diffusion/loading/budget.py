"""Choose how a model is loaded by what it needs and what its device has, before any weight is read."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import torch
from torch import nn

from diffusion.errors import ModelLoadError
from diffusion.families.model import ImageModel
from diffusion.loading.memory import bytes_by_part, network_bytes, total_bytes
from diffusion.loading.placement import TILE, Placement, is_packed
from diffusion.loading.working_memory import decode_bytes, encode_bytes, step_bytes

log = logging.getLogger(__name__)
FITS_NOT: Final = "Choose a smaller model, half precision (DTYPE), or another DEVICE."
STATED_TOO_LITTLE: Final = "Raise MODELS_MAX_GB, or choose a smaller model or half precision (DTYPE)."
RESERVED_BYTES: Final = 2**29  # of a device's memory: its driver and libraries
CARDS: Final = ("cuda", "xpu")  # kinds of devices with memory of their own
OPTIONS: Final = {  # of `Placement`, in the order in which they are tried
    "encoders_on_cpu": "the text encoders stay on the CPU",
    "in_tiles": f"the autoencoder takes pictures in tiles of {TILE} pixels",
    "in_8_bits": "the network is stored in 8 bits",
    "layer_by_layer": "each layer of the network is on the card only while it computes",
}
ONLY_ON_CARDS: Final = ("encoders_on_cpu", "layer_by_layer")


@dataclass(frozen=True)
class Need:
    """What a model takes of the memory of its device to draw one picture of its own size.

    ``weights`` are bytes by part, ``working`` the most that a call takes besides.
    """

    weights: Mapping[str, int]
    working: int

    @property
    def weight_bytes(self) -> int:
        """The bytes of all weights."""
        return sum(self.weights.values())

    @property
    def bytes(self) -> int:
        """The bytes of weights and calls."""
        return self.weight_bytes + self.working

    def __str__(self) -> str:
        parts = {**self.weights, "calls": self.working}
        return f"{_gib(self.bytes)} GiB ({', '.join(f'{part} {_gib(count)}' for part, count in parts.items())})"


@dataclass(frozen=True)
class Plan:
    """How a model is loaded, what it needs then, and both as a ``sentence``."""

    placement: Placement
    need: Need
    sentence: str


def plan(model: ImageModel, source: str, device: torch.device, max_bytes: int | None = None) -> Plan:
    """Choose the placement of ``model``, described without weights, so that it fits.

    ``max_bytes`` is what the operator allows; None: what ``device`` has. Raises `ModelLoadError` if nothing makes it fit.
    """
    needs = Needs(model, device)
    room = max_bytes or max(0, total_bytes(device) - RESERVED_BYTES)
    placement = Placement(device)
    first = need = needs.of(placement)
    for option in _options(model, device):
        if need.bytes <= room:
            break
        choice: dict[str, Any] = {option: True}
        smaller = replace(placement, **choice)
        if needs.of(smaller).bytes < need.bytes:
            placement, need = smaller, needs.of(smaller)
    has = f"MODELS_MAX_GB allows {_gib(room)}"
    if not max_bytes:
        has = f"{'this card' if device.type in CARDS else 'this machine'} has {_gib(total_bytes(device))}"
    chosen = _enumerate([text for option, text in OPTIONS.items() if getattr(placement, option)])
    if need.bytes > room:
        even_so = f", or {_gib(need.bytes)} if {chosen}" if chosen else ""
        advice = STATED_TOO_LITTLE if max_bytes else FITS_NOT
        raise ModelLoadError(source, f"it needs {first}{even_so}, and {has}. {advice}")
    if not chosen:
        return Plan(placement, need, f"The model {source} needs {first}, and {has}.")
    return Plan(placement, need, f"The model {source} needs {first}, and {has}: {chosen}. So it needs {_gib(need.bytes)} GiB.")


def _options(model: ImageModel, device: torch.device) -> Iterator[str]:
    """Yield the options that can save memory of ``model`` on ``device``."""
    for option in OPTIONS:
        if option in ONLY_ON_CARDS and device.type not in CARDS:  # the CPU's memory is the device's
            continue
        if option == "in_8_bits" and (device.type == "mps" or is_packed(model.family.denoiser)):  # MPS has no float8
            continue
        yield option


class Needs:
    """What ``model``, described without weights, needs of the memory of ``device`` in each placement."""

    def __init__(self, model: ImageModel, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._request = model.request("a picture")
        self._rows = model.rows(self._request)
        self._denoisers = cache(self._stored)
        self._step = cache(self._step_bytes)
        self._decode = cache(self._decode_bytes)
        self._encode = cache(lambda: _measured(lambda: encode_bytes(model.family, self._request, device=device)))

    def of(self, placement: Placement) -> Need:
        """Return the need in ``placement``."""
        weights = bytes_by_part(self._model)
        denoisers = self._denoisers(placement.in_8_bits)
        by_layer = placement.layer_by_layer
        weights["network"] = max(map(_largest_layer, denoisers)) if by_layer else sum(map(network_bytes, denoisers))
        working = [self._step(placement.in_8_bits), self._decode(placement.in_tiles)]
        if placement.encoders_on_cpu:
            weights["text encoders"] = 0
        else:
            working.append(self._encode())
        return Need({part: count for part, count in weights.items() if count}, max(working))

    def _stored(self, in_8_bits: bool) -> tuple[nn.Module, ...]:
        """Return the denoiser, and that of a student if there is one, as they are stored."""
        denoisers = filter(None, (self._model.family.denoiser, self._model.student))
        if not in_8_bits:
            return tuple(denoisers)
        placement = Placement(torch.device("meta"), in_8_bits=True)
        return tuple(placement.place("unet", deepcopy(denoiser)) for denoiser in denoisers)

    def _step_bytes(self, in_8_bits: bool) -> int:
        family = copy(self._model.family)
        family.denoiser = self._denoisers(in_8_bits)[0]
        return _measured(lambda: step_bytes(family, self._request, self._rows, device=self._device))

    def _decode_bytes(self, in_tiles: bool) -> int:
        family: Any = copy(self._model.family)
        family.vae = deepcopy(family.vae).to("meta")  # its buffers, too
        if in_tiles:
            family.tile(TILE)
        return _measured(lambda: decode_bytes(family, self._request, device=self._device))


def _measured(measure: Callable[[], int]) -> int:
    """Return what ``measure`` does, 0 for a call that needs real numbers."""
    try:
        return measure()
    except (RuntimeError, ValueError) as error:
        log.warning("the memory of a call is not known: %s", error)
        return 0


def _largest_layer(network: nn.Module) -> int:
    return max(network_bytes(module) for module in network.modules() if not next(module.children(), None))


def _enumerate(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))


def _gib(count: float) -> str:
    return f"{count / 2**30:.2g}" if count < 2**30 else f"{count / 2**30:.1f}"
