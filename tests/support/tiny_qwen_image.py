"""Qwen-Image of toy size with random weights, and diffusers' pipelines of the same parts."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImagePipeline, QwenImageTransformer2DModel
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from diffusion.families.model import ImageModel
from diffusion.families.qwen_image import QwenImage
from tests.support.tiny_z_image import build_tokenizer

SCHEDULER = {  # as the models publish it
    "base_shift": 0.5,
    "max_shift": 0.9,
    "max_image_seq_len": 8192,
    "shift_terminal": 0.02,
    "use_dynamic_shifting": True,
}


def build_components() -> dict[str, Any]:
    """Build the float32 parts."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1, "out_hidden_size": 16}
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.5, 2.0, 1.0],
    )
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    return {
        "vae": vae.eval(),
        "tokenizer": tokenizer,
        "text_encoder": Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)).eval(),
        "transformer": transformer.eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(**SCHEDULER),
    }


def model_of(components: dict[str, Any]) -> ImageModel:
    """Build the engine's model of ``components``."""
    networks = {name: part for name, part in components.items() if name != "scheduler"}
    family = QwenImage(**networks, scheduler_config=dict(components["scheduler"].config))
    return ImageModel(family, name="tiny-qwen-image")


def save(components: dict[str, Any], folder: Path) -> Path:
    """Write ``components`` as diffusers' layout has them."""
    QwenImagePipeline(**components).save_pretrained(folder)
    return folder
