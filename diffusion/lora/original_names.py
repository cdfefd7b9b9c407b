"""The names of a UNet's layers in the original code, which files for Stable Diffusion XL have."""

import re
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
