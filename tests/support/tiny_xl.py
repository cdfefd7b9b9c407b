"""Stable Diffusion XL of toy size with random weights, and diffusers' pipelines of the same parts."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EDMDPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffusion.families.model import ImageModel
from diffusion.families.stable_diffusion_xl import StableDiffusionXL
from diffusion.loading.folder import PRETRAINED

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULERS = {  # by kind, as the models publish them
    "base": EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1),
    "v_prediction": EulerDiscreteScheduler(
        **BETAS, timestep_spacing="trailing", prediction_type="v_prediction", rescale_betas_zero_snr=True
    ),
    "edm": EDMDPMSolverMultistepScheduler(),
    "turbo": EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing"),
}
EDM_AUTOENCODER = {
    "scaling_factor": 0.5,
    "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
    "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
}


def build_components(kind: str = "base", tokenizer_folder: Path = PRETRAINED / "tokenizer", **unet: Any) -> dict[str, Any]:
    """Build the float32 parts of a model whose pictures are 32x32 pixels and its latents 4x4 cells.

    ``kind`` is one of `SCHEDULERS`. ``unet`` are other settings of the UNet.
    """
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    tokenizer_2 = CLIPTokenizer.from_pretrained(tokenizer_folder, pad_token="!")
    text_config = {
        "vocab_size": len(tokenizer_2),
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    unet_config = {
        "sample_size": 4,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 16 + 24,
        "attention_head_dim": (2, 4),
        "transformer_layers_per_block": (1, 2),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 20 + 6 * 8,
    }
    return {
        "vae": AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=32,
            force_upcast=True,
            **(EDM_AUTOENCODER if kind == "edm" else {"scaling_factor": 0.13025}),
        ).eval(),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer_2,
        "text_encoder": CLIPTextModel(CLIPTextConfig(**text_config, hidden_size=16, projection_dim=16)).eval(),
        "text_encoder_2": CLIPTextModelWithProjection(
            CLIPTextConfig(**text_config, hidden_size=24, projection_dim=20, hidden_act="gelu")
        ).eval(),
        "unet": UNet2DConditionModel(**unet_config | unet).eval(),
        "scheduler": SCHEDULERS[kind],
    }


def model_of(components: dict[str, Any], **settings: Any) -> ImageModel:
    """Build the engine's model of ``components``; ``settings`` are those of the family."""
    networks = {name: part for name, part in components.items() if name != "scheduler"}
    scheduler = components["scheduler"]
    config = dict(scheduler.config) | {"_class_name": type(scheduler).__name__}
    family = StableDiffusionXL(**networks, scheduler_config=config, **settings)
    return ImageModel(family, name="tiny-xl", defaults=family.defaults_for(config))


def pipeline_of(kind: Any, components: dict[str, Any], model: ImageModel, sampler: str, **settings: Any) -> Any:
    """Build diffusers' pipeline ``kind`` of ``components`` with a ``sampler`` of ``model``."""
    chosen = model.family.samplers[sampler]
    config = {**components["scheduler"].config, "clip_sample": False}  # as published configurations say
    scheduler = chosen.scheduler.from_config(config, **chosen.settings)
    made = kind(**{**components, "scheduler": scheduler}, **settings)
    made.set_progress_bar_config(disable=True)
    return made


def save(components: dict[str, Any], folder: Any) -> Any:
    """Write ``components`` as diffusers' layout has them."""
    StableDiffusionXLPipeline(**components).save_pretrained(folder)
    return folder
