"""Read the numbers of a LoRA file."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor

from diffusion.errors import GenerationError, InvalidRequestError
from diffusion.lora.catalogue import LoraFile
from diffusion.lora.header import DAMAGED, GONE
from diffusion.lora.layer_index import LayerFile
from diffusion.text import N_

FULL: Final = N_("There is no memory for another LoRA at the moment. Please try again in a minute.")
NO_MEMORY: Final = "can't allocate memory"  # what torch says where the CPU's memory ends
PEFT_METADATA = "lora_adapter_metadata"  # what diffusers saves of peft's settings, as JSON


class LoraMemoryFullError(GenerationError):
    """There is no memory for a LoRA now; there is once some of running pictures are done."""

    def __init__(self) -> None:
        super().__init__(FULL)


@dataclass(frozen=True)
class LayerWeights:
    """The change of one layer's weight: up^T down, in float32.

    ``down`` is (rank, inputs) with the cells of a convolution's kernel among the inputs, ``up`` (rank, outputs). The scale
    alpha / rank is a part of ``up``.
    """

    network: str
    module: str
    down: Tensor
    up: Tensor


@dataclass(frozen=True)
class LoraWeights:
    """All layers of a LoRA; ``file`` says what they were read from."""

    file: LoraFile
    layers: tuple[LayerWeights, ...]

    @property
    def bytes(self) -> int:
        """The memory of its tensors."""
        return sum(tensor.nbytes for layer in self.layers for tensor in (layer.down, layer.up))


def read_weights(name: str, file: LoraFile, most: float = torch.finfo(torch.float32).max) -> LoraWeights:
    """Read the LoRA ``name`` of ``file``, whose numbers are at most ``most``.

    A larger one would become infinite in the network, and 0 times infinity spoils other rows. Call it in a thread that draws
    nothing. Raises `InvalidRequestError`, or `LoraMemoryFullError`.
    """
    try:
        with safe_open(file.path, "pt") as tensors:
            alphas = _Alphas(file.metadata)
            layers = tuple(_read_layer(tensors, layer, alphas) for layer in file.layers)
    except OSError as error:
        raise InvalidRequestError("loras", GONE, name=name) from error
    except Exception as error:  # safetensors raises an error of its own for a file that was replaced meanwhile
        if isinstance(error, MemoryError) or NO_MEMORY in str(error):
            raise LoraMemoryFullError from error
        raise InvalidRequestError("loras", DAMAGED, name=name) from error
    if not all(bool((tensor.abs() <= most).all()) for layer in layers for tensor in (layer.down, layer.up)):
        raise InvalidRequestError("loras", DAMAGED, name=name)
    return LoraWeights(file, layers)


def _read_layer(tensors: Any, layer: LayerFile, alphas: "_Alphas") -> LayerWeights:
    down: Tensor = tensors.get_tensor(layer.down).float()
    up: Tensor = tensors.get_tensor(layer.up)[layer.first : layer.end].float().flatten(1)
    if layer.mid:  # CP decomposition: a kernel between two projections, folded into the first
        mid: Tensor = tensors.get_tensor(layer.mid).float()
        down = torch.einsum("rsyx,si->riyx", mid, down.flatten(1))
    if layer.alpha:
        scale = float(tensors.get_tensor(layer.alpha)) / layer.rank
    else:
        scale = alphas.scale(layer)
    return LayerWeights(layer.network, layer.module, down.flatten(1), (scale * up).T.contiguous())


class _Alphas:
    """The scales in a file that diffusers has saved with peft's settings; 1 without."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        try:
            settings = json.loads(metadata.get(PEFT_METADATA, "{}"))
        except (ValueError, RecursionError):
            settings = {}
        self._settings: dict[str, Any] = settings if isinstance(settings, dict) else {}

    def scale(self, layer: LayerFile) -> float:
        alpha = self._settings.get(f"{layer.network}.lora_alpha")
        patterns = self._settings.get(f"{layer.network}.alpha_pattern")
        for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
            if re.fullmatch(rf"(.*\.)?({re.escape(pattern)})", layer.module):
                alpha = value
        if not isinstance(alpha, (int, float)):
            return 1.0
        is_rank_stabilized = self._settings.get(f"{layer.network}.use_rslora") is True
        return alpha / (math.sqrt(layer.rank) if is_rank_stabilized else layer.rank)
