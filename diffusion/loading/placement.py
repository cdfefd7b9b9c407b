"""Where the parts of a model are, and in which form, so that it fits into the memory of its device."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.hooks import apply_group_offloading

from diffusion.families.family import Family

TILE: Final = 512  # pixels of a side of a tile for the autoencoder
DENOISERS: Final = ("unet", "transformer", "student")
TEXT_ENCODER: Final = "text_encoder"  # how the names of the parts begin that read prompts
LARGE_ENCODERS: Final = 50_000_000  # weights: with more, a CPU takes longer for a prompt than for a short step
CPU: Final = torch.device("cpu")
LoadNetwork = Callable[[Any, Path, str, torch.dtype], Any]


def is_packed(denoiser: Any) -> bool:
    """Whether the weights of ``denoiser`` have few bits already, so that its layers unpack them while they compute."""
    return getattr(denoiser, "hf_quantizer", None) is not None


@dataclass(frozen=True)
class Placement:
    """Says on which ``device`` a model computes, and what saves memory there.

    - ``encoders_on_cpu``: the text encoders stay on the CPU and compute there.
    - ``in_tiles``: the autoencoder takes pictures in tiles of `TILE` pixels.
    - ``in_8_bits``: the denoiser's weights are stored in float8. Each layer is unpacked while it computes.
    - ``layer_by_layer``: the denoiser's weights stay on the CPU. Each layer is on the device while it computes.
    """

    device: torch.device
    encoders_on_cpu: bool = False
    in_tiles: bool = False
    in_8_bits: bool = False
    layer_by_layer: bool = False

    @property
    def saves_memory(self) -> bool:
        """Whether anything is done to save memory."""
        return self != Placement(self.device)

    @property
    def changes_weights(self) -> bool:
        """Whether calls move or convert the denoiser's weights, so that none can be recorded or compiled."""
        return self.in_8_bits or self.layer_by_layer

    def place(self, name: str, network: Any) -> Any:
        """Return the part ``name`` of a model, ``network``, where it is to be."""
        if name in DENOISERS and self.changes_weights:
            dtype = network.dtype
            if self.in_8_bits:
                network.eval().requires_grad_(False)
                network.enable_layerwise_casting(torch.float8_e4m3fn, compute_dtype=dtype)
            if self.layer_by_layer:
                # By layers, as families may call the blocks of a network in their own way.
                apply_group_offloading(network, self.device, CPU, offload_type="leaf_level")
                for tensor in (*network._parameters.values(), *network._buffers.values()):
                    if tensor is not None:
                        tensor.data = tensor.data.to(self.device)
                return network
        return network.to(CPU if self.encoders_on_cpu and name.startswith(TEXT_ENCODER) else self.device)

    def loading(self, load: LoadNetwork) -> LoadNetwork:
        """Return ``load``, which places what it loads."""
        return lambda kind, folder, name, dtype: self.place(name, load(kind, folder, name, dtype))

    def finish(self, family: Family) -> None:
        """Let ``family`` use its parts as they are placed."""
        family.is_static = not (self.changes_weights or is_packed(family.denoiser))
        encodes_slowly = self.device == CPU and _encoder_weights(family) > LARGE_ENCODERS
        family.encodes_apart = self.encoders_on_cpu or encodes_slowly
        if self.in_tiles:
            family.tile(TILE)


def _encoder_weights(family: Family) -> int:
    """Count the weights of the text encoders of ``family``."""
    encoders = [getattr(family, name, None) for name in family.parts if name.startswith(TEXT_ENCODER)]
    return sum(weight.numel() for encoder in encoders if encoder is not None for weight in encoder.parameters())
