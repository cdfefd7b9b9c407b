"""FLUX.1 of toy size with random weights, and diffusers' pipelines of the same parts."""

from pathlib import Path
from string import printable
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

from diffusion.families.flux import Flux
from diffusion.families.model import ImageModel
from diffusion.loading.folder import PRETRAINED

SCHEDULERS = {  # by kind, as the models publish them
    "dev": {"shift": 3.0, "use_dynamic_shifting": True},
    "schnell": {"shift": 1.0, "use_dynamic_shifting": False},
}
WORDS = ("▁", "▁a", "▁fox", "▁red", "▁dog", "fox", "red", "in", "the")


def build_autoencoder() -> AutoencoderKL:
    """Build an autoencoder of four channels and a factor of eight, with a shift."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=32,
    ).eval()


def build_t5_tokenizer() -> T5TokenizerFast:
    """Build a tokenizer of letters and a few words."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((word, -2.0) for word in WORDS)]
    pieces += [(letter, -5.0) for letter in printable.strip()]
    return T5TokenizerFast(vocab=pieces, extra_ids=2)


def build_components(kind: str = "dev") -> dict[str, Any]:
    """Build the float32 parts of ``kind``: "dev" or "schnell"."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(PRETRAINED / "tokenizer")
    tokenizer_2 = build_t5_tokenizer()
    clip = CLIPTextConfig(
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
    t5 = T5Config(
        vocab_size=len(tokenizer_2), d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return {
        "vae": build_autoencoder(),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer_2,
        "text_encoder": CLIPTextModel(clip).eval(),
        "text_encoder_2": T5EncoderModel(t5).eval(),
        "transformer": FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=kind == "dev",
        ).eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(**SCHEDULERS[kind]),
    }


def model_of(components: dict[str, Any]) -> ImageModel:
    """Build the engine's model of ``components``."""
    networks = {name: part for name, part in components.items() if name != "scheduler"}
    family = Flux(**networks, scheduler_config=dict(components["scheduler"].config))
    defaults = Flux.suggest_defaults((), {"transformer": components["transformer"].config})
    return ImageModel(family, name="tiny-flux", defaults=defaults)


def save(components: dict[str, Any], folder: Path) -> Path:
    """Write ``components`` as diffusers' layout has them."""
    FluxPipeline(**components).save_pretrained(folder)
    return folder
