"""The names of layers in the original code of Stable Diffusion XL's UNet and of some transformers, which files have."""

import re
from collections.abc import Collection
from typing import Final

RESNET_PARTS: Final = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OTHER_PARTS: Final = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
BLOCK: Final = re.compile(
    r"(?:(?P<side>down|up)_blocks\.(?P<block>\d+)|(?P<mid>mid_block))"
    r"\.(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<layer>\d+)\.(?P<rest>.+)"
)


def original_name(module: str, layers_per_block: int) -> str:
    """Return the name of a UNet's ``module`` in the original code, as files for Stable Diffusion XL have it.

    Returns "" for a module without one.
    """
    if module in OTHER_PARTS:
        return OTHER_PARTS[module]
    found = BLOCK.fullmatch(module)
    if found is None:
        return ""
    kind, layer, rest = found["kind"], int(found["layer"]), found["rest"]
    if kind == "resnets":
        rest = RESNET_PARTS.get(rest, rest)
    if found["mid"]:
        return f"middle_block.{2 * layer if kind == 'resnets' else 2 * layer + 1}.{rest}"
    block = int(found["block"])
    if kind == "downsamplers":
        return f"input_blocks.{(block + 1) * (layers_per_block + 1)}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{block * (layers_per_block + 1) + layers_per_block}.2.{rest}"
    place = "input_blocks" if found["side"] == "down" else "output_blocks"
    number = block * (layers_per_block + 1) + layer + (found["side"] == "down")
    return f"{place}.{number}.{0 if kind == 'resnets' else 1}.{rest}"


Z_IMAGE_ATTENTION: Final = {
    "attention.qkv": ("attention.to_q", "attention.to_k", "attention.to_v"),
    "attention.out": ("attention.to_out.0",),
}
# Layers by block of diffusers and of the original code, where one layer makes the outputs of several. Those of FLUX.2 and of
# Chroma are named as those of FLUX.1, but some stand for others.
BLOCKS: Final[tuple[dict[tuple[str, str], dict[str, tuple[str, ...]]], ...]] = (
    {
        ("transformer_blocks", "double_blocks"): {
            "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
            "img_attn.proj": ("attn.to_out.0",),
            "img_mlp.0": ("ff.net.0.proj",),
            "img_mlp.2": ("ff.net.2",),
            "img_mod.lin": ("norm1.linear",),
            "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
            "txt_attn.proj": ("attn.to_add_out",),
            "txt_mlp.0": ("ff_context.net.0.proj",),
            "txt_mlp.2": ("ff_context.net.2",),
            "txt_mod.lin": ("norm1_context.linear",),
        },
        ("single_transformer_blocks", "single_blocks"): {
            "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
            "linear2": ("proj_out",),
            "modulation.lin": ("norm.linear",),
        },
    },
    {  # FLUX.2
        ("transformer_blocks", "double_blocks"): {
            "img_mlp.0": ("ff.linear_in",),
            "img_mlp.2": ("ff.linear_out",),
            "txt_mlp.0": ("ff_context.linear_in",),
            "txt_mlp.2": ("ff_context.linear_out",),
        },
        ("single_transformer_blocks", "single_blocks"): {
            "linear1": ("attn.to_qkv_mlp_proj",),
            "linear2": ("attn.to_out",),
        },
    },
    {(block, block): Z_IMAGE_ATTENTION for block in ("layers", "noise_refiner", "context_refiner")},  # Z-Image
)


def original_layers(modules: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the ``modules`` of a transformer that each layer of the original code stands for."""
    found = {}
    for (block, original), layers in (item for blocks in BLOCKS for item in blocks.items()):
        numbers = {int(module.split(".")[1]) for module in modules if module.startswith(f"{block}.")}
        for number in numbers:
            for name, parts in layers.items():
                joined = tuple(f"{block}.{number}.{part}" for part in parts)
                if all(module in modules for module in joined):
                    found[f"{original}.{number}.{name}"] = joined
    return found
