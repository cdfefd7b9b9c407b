"""Stable Diffusion 3 of toy size with random weights, and diffusers' pipelines of the same parts."""

from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel

from diffusion.families.model import ImageModel
from diffusion.families.stable_diffusion_3 import StableDiffusion3
from diffusion.loading.folder import PRETRAINED
from tests.support.tiny_flux import build_autoencoder, build_t5_tokenizer


def build_components(**scheduler: Any) -> dict[str, Any]:
    """Build the float32 parts; ``scheduler`` are other settings of the noise schedule."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(PRETRAINED / "tokenizer")
    tokenizer_2 = CLIPTokenizer.from_pretrained(PRETRAINED / "tokenizer", pad_token="!")
    tokenizer_3 = build_t5_tokenizer()
    clip = {
        "vocab_size": len(tokenizer),
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    t5 = T5Config(
        vocab_size=len(tokenizer_3), d_model=48, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return {
        "vae": build_autoencoder(),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer_2,
        "tokenizer_3": tokenizer_3,
        "text_encoder": CLIPTextModelWithProjection(CLIPTextConfig(**clip, hidden_size=16, projection_dim=16)).eval(),
        "text_encoder_2": CLIPTextModelWithProjection(
            CLIPTextConfig(**clip, hidden_size=24, projection_dim=20, hidden_act="gelu")
        ).eval(),
        "text_encoder_3": T5EncoderModel(t5).eval(),
        "transformer": SD3Transformer2DModel(
            sample_size=4,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=48,
            caption_projection_dim=16,
            pooled_projection_dim=36,
            pos_embed_max_size=16,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        ).eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler}),
    }


def model_of(components: dict[str, Any]) -> ImageModel:
    """Build the engine's model of ``components``."""
    networks = {name: part for name, part in components.items() if name != "scheduler"}
    family = StableDiffusion3(**networks, scheduler_config=dict(components["scheduler"].config))
    return ImageModel(family, name="tiny-sd3")


def save(components: dict[str, Any], folder: Path) -> Path:
    """Write ``components`` as diffusers' layout has them."""
    StableDiffusion3Pipeline(**components).save_pretrained(folder)
    return folder
