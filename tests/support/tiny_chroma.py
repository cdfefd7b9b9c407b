"""Chroma of toy size with random weights, and diffusers' pipelines of the same parts."""

import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import ChromaPipeline, ChromaTransformer2DModel, FlowMatchEulerDiscreteScheduler
from transformers import T5Config, T5EncoderModel

from diffusion.families.chroma import Chroma
from diffusion.families.model import ImageModel
from tests.support.tiny_flux import build_autoencoder, build_t5_tokenizer


def build_components(**scheduler: Any) -> dict[str, Any]:
    """Build the float32 parts, with settings of the ``scheduler``."""
    torch.manual_seed(0)
    tokenizer = build_t5_tokenizer()
    t5 = T5Config(
        vocab_size=len(tokenizer), d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # diffusers' own names
        transformer = ChromaTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=16,
            approximator_hidden_dim=16,
            approximator_layers=1,
        )
    return {
        "vae": build_autoencoder(),
        "tokenizer": tokenizer,
        "text_encoder": T5EncoderModel(t5).eval(),
        "transformer": transformer.eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(**scheduler),
    }


def model_of(components: dict[str, Any]) -> ImageModel:
    """Build the engine's model of ``components``."""
    networks = {name: part for name, part in components.items() if name != "scheduler"}
    family = Chroma(**networks, scheduler_config=dict(components["scheduler"].config))
    return ImageModel(family, name="tiny-chroma")


def save(components: dict[str, Any], folder: Path) -> Path:
    """Write ``components`` as diffusers' layout has them."""
    ChromaPipeline(**components).save_pretrained(folder)
    return folder
