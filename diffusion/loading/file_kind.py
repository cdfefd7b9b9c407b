"""Recognize what a file of weights is by its first bytes and the names of its tensors."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from diffusion.families.registry import FAMILIES
from diffusion.loading.index import CONTROLNET, IN_GGUF, IP_ADAPTER, LORA, SAFETENSORS, VAE, unsupported

GGUF: Final = b"GGUF"
PICKLES: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")  # torch's archives and plain pickles
PICKLE_SUFFIXES: Final = (".ckpt", ".pt", ".pth", ".bin")
UNET: Final = "model.diffusion_model."
EMBEDDING: Final = "an embedding (textual inversion). Put it into the folder that EMBEDDINGS names"
# What a name shows, the surest first. Names of UNets in diffusers' layout also begin those of some adapters.
KINDS: Final = {
    EMBEDDING: r"emb_params|string_to_(param|token)|^clip_[gl]$",
    "a DoRA, which only changes another model": r"dora_scale|lora_magnitude_vector",
    "a LyCORIS network, which only changes another model": r"hada_w1|lokr_w1|oft_(blocks|diag)|glora",
    LORA: r"lora_(unet|te|transformer|[AB]\b|up\b|down\b|linear)|lora\.(up|down)",
    CONTROLNET: r"^control_model|controlnet|control_all_x|control_layers|input_hint_block",
    IP_ADAPTER: r"^(image_proj|ip_adapter)\.",
    "a T2I-Adapter, which only guides another model": r"^(adapter\.)?body\.\d+\.(resnets|block)",
    "a motion module, which only changes another model": r"motion_modules",
    "quantized by bitsandbytes": r"\.(absmax|quant_map|quant_state)\b",
    "the text encoders of Stable Diffusion XL without its UNet": r"conditioner\.embedders\.1\.",
    "of Stable Diffusion XL's refiner": r"conditioner\.embedders\.0\.model\.",
    "of FLUX.2": r"double_stream_modulation|single_stream_modulation",
    "of Chroma": r"distilled_guidance_layer",
    "of HunyuanVideo": r"individual_token_refiner",
    "of FLUX.1": r"double_blocks\.\d+\.img_attn|single_transformer_blocks\.\d+\.",
    "of Qwen-Image": r"transformer_blocks\.\d+\.img_mod",
    "of Stable Diffusion 3": r"joint_blocks\.\d+\.|transformer_blocks\.\d+\.norm1_context",
    "of Z-Image": r"(x|cap)_pad_token|layers\.0\.adaLN_modulation\.0\.",
    "of Lumina": r"cap_embedder",
    "of HiDream": r"double_stream_blocks",
    "of AuraFlow": r"double_layers\.\d+\.attn",
    "of SANA": r"blocks\.\d+\.cross_attn\.q_linear",
    "of PixArt": r"^(model\.diffusion_model\.)?(caption_projection|adaln_single|y_embedder)\.",
    "of Stable Cascade": r"clip_txt_mapper|channelwise",
    "of LTX-Video": r"patchify_proj",
    "of Wan": r"(^|\.)head\.modulation",
    "a network that enlarges pictures. The setting UPSCALER may name it": r"RRDB|\brdb\d|^conv_first\.|^model\.\d+\.sub\.",
    "a text encoder": r"^(transformer\.)?(text_model|resblocks)\.|^encoder\.block\.\d|^(model\.)?layers\.\d+\.self_attn",
    "a network that reads pictures": r"^(vision_model|visual)\.",
}
AUTOENCODER: Final = re.compile(r"^(first_stage_model\.|vae\.)?(encoder|decoder)\.conv_in\.weight$")
DIFFUSERS_UNET: Final = re.compile(r"^(unet\.)?(down_blocks|mid_block|up_blocks)\.")


def check_format(path: Path) -> None:
    """Raise `ValueError` for a file that is missing or not in safetensors."""
    suffix = path.suffix.lower()
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(4)
    if suffix == ".gguf" or start == GGUF:
        raise ValueError(unsupported(IN_GGUF))
    if suffix in PICKLE_SUFFIXES or start.startswith(PICKLES):
        raise ValueError("a single file must be in safetensors. Opening a pickle can run any code, so it is not read.")
    if not path.is_file():
        raise ValueError("there is no such file. Correct the path.")
    if suffix not in SAFETENSORS:
        raise ValueError(f"a single file must be in safetensors, and this one ends in {suffix or 'no suffix'}.")


def kind_of(names: Collection[str]) -> str:
    """Return what a file with tensors of ``names`` is, as a part of a sentence; empty for what no name shows."""
    return next((kind for kind, pattern in KINDS.items() if any(re.search(pattern, name) for name in names)), "")


def describe(names: Collection[str]) -> str:
    """Return why a file with tensors of ``names`` is no model of a known family."""
    if kind := kind_of(names):
        return _only_as_folder(kind) or unsupported(kind)
    if any(AUTOENCODER.search(name) for name in names) and not any(name.startswith(UNET) for name in names):
        return unsupported(VAE)
    if any(DIFFUSERS_UNET.search(name) for name in names):
        return unsupported("one network of a model in diffusers' layout. Name the folder that holds all parts")
    if len(names) == 1:
        return unsupported(
            "a single tensor. If it is an embedding (textual inversion), put it into the folder that EMBEDDINGS names"
        )
    if any(name.startswith(UNET) for name in names):
        return (
            "it has no text encoder of Stable Diffusion 1, 2 or XL. Name a file that has one, or a folder in diffusers' layout."
        )
    return unsupported("none of the models that are known here")


def _only_as_folder(kind: str) -> str:
    """Return why a file of a family that draws from folders alone is refused; empty for other kinds."""
    if kind.removeprefix("of ") not in {family.label for family in FAMILIES.values()}:
        return ""
    return f"it is {kind} in one file. Name a folder or hub id in diffusers' layout instead, which has its text encoders, too."
