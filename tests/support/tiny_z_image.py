"""Z-Image of toy size with random weights, and diffusers' pipelines of the same parts."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

from diffusion.families.model import ImageModel
from diffusion.families.z_image import ZImage
from tests.support.tiny_flux import build_autoencoder

SHIFTS = {"turbo": 3.0, "base": 6.0}
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer() -> Qwen2Tokenizer:
    """Build a tokenizer of bytes, with the marks of a chat."""
    readable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in readable] + [chr(256 + place) for place in range(256 - len(readable))]
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary | {"<|endoftext|>": 256}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHAT
    return tokenizer


def build_components(kind: str = "turbo") -> dict[str, Any]:
    """Build the float32 parts of ``kind``: "turbo" or "base"."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    text_config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=12,
    )
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=24,
        axes_dims=[8, 4, 4],
        axes_lens=[600, 32, 32],
    ).eval()
    torch.nn.init.normal_(transformer.x_pad_token)
    torch.nn.init.normal_(transformer.cap_pad_token)
    return {
        "vae": build_autoencoder(),
        "tokenizer": tokenizer,
        "text_encoder": Qwen3Model(text_config).eval(),
        "transformer": transformer,
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=SHIFTS[kind], use_dynamic_shifting=False),
    }


def model_of(components: dict[str, Any]) -> ImageModel:
    """Build the engine's model of ``components``."""
    networks = {name: part for name, part in components.items() if name != "scheduler"}
    config = dict(components["scheduler"].config)
    defaults = ZImage.suggest_defaults((), {"scheduler": config})
    return ImageModel(ZImage(**networks, scheduler_config=config), name="tiny-z-image", defaults=defaults)


def save(components: dict[str, Any], folder: Path) -> Path:
    """Write ``components`` as diffusers' layout has them."""
    ZImagePipeline(**components).save_pretrained(folder)
    index = folder / "model_index.json"
    assert json.loads(index.read_text())["text_encoder"] == ["transformers", "Qwen3Model"]
    return folder
