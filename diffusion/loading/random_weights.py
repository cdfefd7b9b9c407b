"""Models with random weights, of published configurations and of toy size."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffusion.loading.folder import PRETRAINED
from diffusion.loading.single_file import PAD_TOKENS, PUBLISHED

# By hub id: the family, and how many pixels a side were trained on.
PUBLISHED_MODELS = {
    "CompVis/stable-diffusion-v1-4": ("sd1", 512),
    "dreamlike-art/dreamlike-photoreal-2.0": ("sd1", 768),
    "stabilityai/stable-diffusion-2-1": ("sd2", 768),
}
SDXL_ID = "stabilityai/stable-diffusion-xl-base-1.0"
PIPELINES = {"sdxl": "StableDiffusionXLPipeline"}  # by family; the others have that of Stable Diffusion
FACTOR = 8  # of channels, hidden sizes and the groups of normalisation; the numbers of layers and heads stay as published

TEXT_ENCODERS: dict[str, Any] = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}

TINY_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def configs(family: str, factor: int = FACTOR, side: int = 512) -> dict[str, dict[str, Any]]:
    """Return the configurations of ``family`` by folder, with widths over ``factor``."""
    names = [folder.name for folder in sorted((PUBLISHED / family).iterdir())]
    read = {name: json.loads(next((PUBLISHED / family / name).iterdir()).read_text()) for name in names}
    for name in ("unet", "vae"):
        read[name]["block_out_channels"] = [width // factor for width in read[name]["block_out_channels"]]
        read[name]["norm_num_groups"] //= factor
    read["unet"] |= {"sample_size": side // 8, "cross_attention_dim": read["unet"]["cross_attention_dim"] // factor}
    for name in TEXT_ENCODERS.keys() & read.keys():
        for width in ("hidden_size", "intermediate_size", "projection_dim"):
            read[name][width] //= factor
    if second := read.get("text_encoder_2"):
        read["unet"]["projection_class_embeddings_input_dim"] = (
            second["projection_dim"] + 6 * read["unet"]["addition_time_embed_dim"]
        )
    return read


def write_configs(folder: Path, family: str, factor: int = FACTOR, side: int = 512) -> None:
    """Write the configurations and the tokenizer to a folder in diffusers' layout."""
    for name, config in configs(family, factor, side).items():
        (folder / name).mkdir(parents=True)
        (folder / name / ("scheduler_config.json" if name == "scheduler" else "config.json")).write_text(json.dumps(config))
    for name, pad_token in zip(("tokenizer", "tokenizer_2"), PAD_TOKENS[family], strict=False):
        shutil.copytree(PUBLISHED / "tokenizer", folder / name)
        file = folder / name / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token": pad_token}))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": PIPELINES.get(family, "StableDiffusionPipeline")}))


def write_model(folder: Path, hub_id: str, factor: int = FACTOR, dtype: torch.dtype = torch.float32, **saving: object) -> Path:
    """Write the model ``hub_id`` with random weights in diffusers' layout."""
    family, side = (PUBLISHED_MODELS | {SDXL_ID: ("sdxl", 1024)})[hub_id]
    write_configs(folder, family, factor, side)
    read = configs(family, factor, side)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # so that a model of full width never exists in float32
    try:
        UNet2DConditionModel.from_config(read["unet"]).save_pretrained(folder / "unet", **saving)
        AutoencoderKL.from_config(read["vae"]).save_pretrained(folder / "vae", **saving)
        for name, kind in TEXT_ENCODERS.items():
            if name in read:
                kind(CLIPTextConfig(**read[name])).save_pretrained(folder / name, **saving)
    finally:
        torch.set_default_dtype(before)
    return folder


def build_tiny_components(prediction_type: str = "epsilon") -> dict[str, Any]:
    """Build the float32 parts of a Stable Diffusion model of toy size.

    Its pictures are 32x32 pixels, its latents 4x4 cells.
    """
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(PRETRAINED / "tokenizer")
    return {
        "vae": AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=32,
        ).eval(),
        "tokenizer": tokenizer,
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                projection_dim=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        ).eval(),
        "unet": UNet2DConditionModel(
            sample_size=4,
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
        ).eval(),
        "scheduler": DDIMScheduler(**TINY_SCHEDULER, prediction_type=prediction_type),
    }
