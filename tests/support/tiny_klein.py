"""FLUX.2 klein of toy size with random weights, and diffusers' pipelines of the same parts."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from transformers import Qwen3Config, Qwen3ForCausalLM

from diffusion.families.flux_2_klein import TEXT_LAYERS, Flux2Klein
from diffusion.families.model import ImageModel
from tests.support.tiny_z_image import build_tokenizer

WIDTH = 8  # of the text encoder
KINDS = {"distilled": True, "base": False}


def build_components(kind: str = "distilled") -> dict[str, Any]:
    """Build the float32 parts of ``kind``: "distilled" or "base"."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    text_config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=TEXT_LAYERS[-1] + 1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        tie_word_embeddings=True,
    )
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
        latent_channels=4,
        layers_per_block=1,
        sample_size=32,
    ).eval()
    torch.nn.init.normal_(vae.bn.running_mean)
    torch.nn.init.uniform_(vae.bn.running_var, 0.5, 2.0)
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=len(TEXT_LAYERS) * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    ).eval()
    return {
        "vae": vae,
        "tokenizer": tokenizer,
        "text_encoder": Qwen3ForCausalLM(text_config).eval(),
        "transformer": transformer,
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        "is_distilled": KINDS[kind],
    }


def build_published_components() -> dict[str, Any]:
    """Build float32 parts in the shape of FLUX.2 klein 4B, with its widths divided by eight."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    text_config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=320,
        intermediate_size=1216,
        num_hidden_layers=36,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=128,
        tie_word_embeddings=True,
    )
    transformer = Flux2Transformer2DModel(
        num_layers=5,
        num_single_layers=20,
        num_attention_heads=3,
        joint_attention_dim=len(TEXT_LAYERS) * 320,
        guidance_embeds=False,
    )
    return build_components() | {
        "vae": AutoencoderKLFlux2(block_out_channels=(16, 32, 64, 64), norm_num_groups=4).eval(),
        "text_encoder": Qwen3ForCausalLM(text_config).eval(),
        "transformer": transformer.eval(),
    }


def model_of(components: dict[str, Any]) -> ImageModel:
    """Build the engine's model of ``components``."""
    parts = {name: part for name, part in components.items() if name != "scheduler"}
    family = Flux2Klein(**parts, scheduler_config=dict(components["scheduler"].config))
    defaults = Flux2Klein.suggest_defaults((), {"index": {"is_distilled": components["is_distilled"]}})
    return ImageModel(family, name="tiny-klein", defaults=defaults)


def save(components: dict[str, Any], folder: Path) -> Path:
    """Write ``components`` as diffusers' layout has them."""
    Flux2KleinPipeline(**components).save_pretrained(folder)
    return folder
