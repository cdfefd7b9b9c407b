"""From diffusers' layout to the one file in which Stable Diffusion was first released: the reverse of what is tested."""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}
ENDS = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
ATTENTION = {"group_norm.": "norm.", "to_q.": "q.", "to_k.": "k.", "to_v.": "v.", "to_out.0.": "proj_out."}
OPEN_CLIP = {
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.out_proj.": "attn.out_proj.",
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.": "ln_final.",
    "encoder.layers.": "transformer.resblocks.",
}


def rename(name: str, names: dict[str, str]) -> str:
    for new, old in names.items():
        name = name.replace(new, old)
    return name


def unet_name(name: str, attends_first: bool = False) -> str:
    """``attends_first``: the first up block has attention, as in Stable Diffusion XL."""
    if found := re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name):
        side, block, kind, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        if kind == "downsamplers":
            return f"input_blocks.{3 * block + 3}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            return f"output_blocks.{3 * block + 2}.{1 if block == 0 and not attends_first else 2}.{rest}"
        place = f"input_blocks.{3 * block + layer + 1}" if side == "down" else f"output_blocks.{3 * block + layer}"
        return f"{place}.0.{rename(rest, RESNET)}" if kind == "resnets" else f"{place}.1.{rest}"
    if found := re.match(r"mid_block\.(\w+)\.(\d)\.(.*)", name):
        resnet = found[1] == "resnets"
        return f"middle_block.{2 * int(found[2]) if resnet else 1}.{rename(found[3], RESNET) if resnet else found[3]}"
    return rename(name, ENDS)


def vae_name(name: str) -> str:
    name = re.sub(r"up_blocks\.(\d)", lambda found: f"up.{3 - int(found[1])}", name.replace("down_blocks.", "down."))
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    name = re.sub(r"(down|up)samplers\.0", r"\1sample", name).replace("resnets.", "block.")
    if "mid_block.attentions.0." in name:
        name = rename(name.replace("mid_block.attentions.0.", "mid.attn_1."), ATTENTION)
    return name.replace("conv_shortcut.", "nin_shortcut.").replace("conv_norm_out.", "norm_out.")


def vae_weight(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Attention was written as convolutions of one pixel then."""
    return weight[:, :, None, None] if ".attn_1." in name and weight.ndim == 2 else weight


def open_clip(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One product for queries, keys and values."""
    joined = {}
    for name, weight in weights.items():
        if "_proj." not in name or "out_proj" in name:
            joined[rename(name, OPEN_CLIP)] = weight
        elif ".q_proj." in name:
            parts = [weights[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            block = rename(name.partition(".self_attn.")[0] + ".", OPEN_CLIP)
            joined[f"{block}attn.in_proj_{name.rpartition('.')[2]}"] = torch.cat(parts)
    return joined


def open_clip_of_2(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One layer more than is used, and a projection that nobody reads."""
    joined = open_clip(weights)
    last = "transformer.resblocks.22."
    more = {name.replace(".22.", ".23."): weight.clone() for name, weight in joined.items() if name.startswith(last)}
    width = joined["ln_final.weight"].shape[0]
    return joined | more | {"text_projection": torch.eye(width)}


def xl_text_encoders(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    joined = open_clip({name.removeprefix("text_model."): weight for name, weight in second.items()})
    joined["text_projection"] = joined.pop("text_projection.weight").T
    own = {f"conditioner.embedders.0.transformer.text_model.{name}": weight for name, weight in first.items()}
    return own | {f"conditioner.embedders.1.model.{name}": weight for name, weight in joined.items()}


def write_checkpoint(model: Path, file: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write the ``model``, a folder in diffusers' layout, into one ``file``."""
    read = {weights.parent.name: load_file(weights) for weights in model.glob("*/*.safetensors")}
    is_xl = "text_encoder_2" in read
    written = {f"model.diffusion_model.{unet_name(name, is_xl)}": weight for name, weight in read["unet"].items()}
    for name, weight in read["vae"].items():
        written[f"first_stage_model.{vae_name(name)}"] = vae_weight(vae_name(name), weight)
    if is_xl:
        text = xl_text_encoders(read["text_encoder"], read["text_encoder_2"])
    elif json.loads((model / "text_encoder" / "config.json").read_text())["hidden_act"] == "gelu":
        text = {f"cond_stage_model.model.{name}": weight for name, weight in open_clip_of_2(read["text_encoder"]).items()}
    else:
        text = {f"cond_stage_model.transformer.text_model.{name}": weight for name, weight in read["text_encoder"].items()}
    written |= text | {"betas": torch.linspace(0, 1, 1000)}
    save_file({name: weight.contiguous() for name, weight in written.items()}, file, metadata)
    return file
