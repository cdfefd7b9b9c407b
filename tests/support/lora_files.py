"""LoRA files of toy size with random weights, as kohya's tools and diffusers write them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffusion.lora.original_names import original_name

Pairs = Mapping[tuple[str, str], tuple[Tensor, Tensor]]  # down and up, by network and module
KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def random_pairs(networks: Mapping[str, nn.Module], seed: int, rank: int = 4, endings: Iterable[str] = ATTENTION) -> Pairs:
    """Return random changes of the layers of ``networks`` whose names have one of ``endings``, as strong as their weights."""
    generator = torch.Generator().manual_seed(seed)
    pairs = {}
    for network, module in networks.items():
        for name, layer in module.named_modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)) and name.endswith(tuple(endings)):
                out, *read = layer.weight.shape
                one = (1, 1) if read[1:] else ()
                strength = (layer.weight.std().item() / rank) ** 0.5
                down = strength * torch.randn(rank, *read, generator=generator)
                up = strength * torch.randn(out, rank, *one, generator=generator)
                pairs[network, name] = (down, up)
    return pairs


def write_kohya(path: Path, pairs: Pairs, alpha: float = 2.0, metadata: Mapping[str, str] | None = None) -> Path:
    """Write ``pairs`` as kohya's tools do for Stable Diffusion 1."""
    tensors = {}
    for (network, module), (down, up) in pairs.items():
        text = "text_model." if network == "text_encoder" else ""
        layer = KOHYA[network] + (text + module).replace(".", "_")
        tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up, f"{layer}.alpha": torch.tensor(alpha)}
    save_file(tensors, path, dict(metadata or {}))
    return path


def write_kohya_xl(path: Path, pairs: Pairs, layers_per_block: int) -> Path:
    """Write ``pairs`` as kohya's tools do for Stable Diffusion XL: with the names of the original UNet."""
    originals = {place: original_name(place[1], layers_per_block) if place[0] == "unet" else place[1] for place in pairs}
    write_kohya(path, {(network, originals[network, module]): pair for (network, module), pair in pairs.items()})
    tensors = {name.replace("lora_te_", "lora_te1_"): tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path)
    return path


def write_diffusers(path: Path, pairs: Pairs, alpha: float = 2.0) -> Path:
    """Write ``pairs`` as diffusers does, with peft's settings in the metadata."""
    tensors = {}
    settings: dict[str, float] = {}
    for (network, module), (down, up) in pairs.items():
        tensors |= {f"{network}.{module}.lora_A.weight": down, f"{network}.{module}.lora_B.weight": up}
        settings |= {f"{network}.r": len(down), f"{network}.lora_alpha": alpha}
    save_file(tensors, path, {"lora_adapter_metadata": json.dumps(settings)})
    return path


def merge(networks: Mapping[str, nn.Module], pairs: Pairs, scale: float) -> None:
    """Add ``scale`` times the changes of ``pairs`` to the weights of ``networks``."""
    for (network, module), (down, up) in pairs.items():
        weight = networks[network].get_submodule(module).weight
        with torch.no_grad():
            weight += scale * (up.flatten(1) @ down.flatten(1)).view_as(weight)
