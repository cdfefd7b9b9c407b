"""What a file for LoRAs shows of itself: its kind, its family and its trigger words."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from diffusion.lora.header import Header

FOREIGN_KINDS: Final = {  # by a part of a tensor's name
    "whole model": r"^model\.diffusion_model\.|^first_stage_model\.|^cond_stage_model\.",
    "DoRA": r"dora_scale|lora_magnitude_vector",
    "LoHa": r"hada_w[12]|hada_t[12]",
    "LoKr": r"lokr_w[12]|lokr_t2",
    "OFT": r"oft_(blocks|diag|R)|boft",
    "GLoRA": r"glora|\.(a1|a2|b1|b2)\.weight$",
    "IA3": r"\.on_input$|ia3_l",
    "LoRA with full weights": r"\.diff(_b)?$|\.(w|b)_norm$|\.bias$",
    "LoRA with an embedding": r"^bundle_emb\.",
    "embedding (textual inversion)": r"emb_params|string_to_(param|token)|^clip_[gl]$",
    "ControlNet": r"^control_model|controlnet|lllite",
    "IP-Adapter": r"^(image_proj|ip_adapter)\.",
}
FOREIGN: Final = {kind: re.compile(pattern) for kind, pattern in FOREIGN_KINDS.items()}
# Families by metadata of kohya's tools, then modelspec; the first that a text contains counts.
FAMILY_NAMES: Final = {
    "sdxl": "Stable Diffusion XL",
    "stable-diffusion-xl": "Stable Diffusion XL",
    "sd_xl": "Stable Diffusion XL",
    "sd_v1": "Stable Diffusion 1",
    "stable-diffusion-v1": "Stable Diffusion 1",
    "sd_v2": "Stable Diffusion 2",
    "stable-diffusion-v2": "Stable Diffusion 2",
    "sd3": "Stable Diffusion 3",
    "stable-diffusion-3": "Stable Diffusion 3",
    "flux-2": "FLUX.2",
    "flux": "FLUX.1",
    "z-image": "Z-Image",
    "zimage": "Z-Image",
    "qwen": "Qwen-Image",
    "wan": "Wan",
    "hunyuan": "HunyuanVideo",
}
FAMILY_LAYERS: Final = {  # by a part of a tensor's name; the first that fits counts
    "FLUX.2": re.compile(r"to_qkv_mlp_proj|double_stream_modulation|single_stream_modulation"),
    "Chroma": re.compile(r"distilled_guidance_layer"),
    "Qwen-Image": re.compile(r"transformer_blocks[._]\d+[._](img|txt)_(mlp|mod)"),
    "FLUX.1": re.compile(r"double_blocks|single_transformer_blocks|single_blocks"),
    "Stable Diffusion 3": re.compile(r"joint_blocks|transformer_blocks[._]\d+[._]attn[._]add_k_proj"),
    "Z-Image": re.compile(r"noise_refiner|context_refiner|layers[._]\d+[._](attention|feed_forward|adaLN_modulation)[._]"),
    "Stable Diffusion XL": re.compile(r"lora_te2_|text_encoder_2\.|input_blocks_[78]_1_|[._]transformer_blocks[._][2-9]"),
}
CROSS_ATTENTION: Final = re.compile(r"attn2[._](?:processor[._])?to_[kv]\b|attn2[._](?:processor[._])?to_[kv][._]")
CROSS_WIDTHS: Final = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
TRIGGER_LENGTH: Final = 40  # characters
MAX_TRIGGERS: Final = 3


def foreign_kind(header: Header) -> str:
    """Return the kind of a file that is no plain LoRA, "" for others."""
    for kind, pattern in FOREIGN.items():
        if any(pattern.search(tensor) for tensor in header.shapes):
            return kind
    return ""


def family_of(header: Header) -> str:
    """Return the name of the family that a LoRA is for, "" if nothing shows it."""
    for family, pattern in FAMILY_LAYERS.items():
        if any(pattern.search(tensor) for tensor in header.shapes):
            return family
    for key in ("ss_base_model_version", "modelspec.architecture"):
        value = header.metadata.get(key, "").lower()[:200]
        for part, family in FAMILY_NAMES.items():
            if part in value:
                return family
    for tensor, shape in header.shapes.items():
        if CROSS_ATTENTION.search(tensor) and re.search(r"down\.weight$|lora_A", tensor) and len(shape) > 1:
            return CROSS_WIDTHS.get(shape[1], "")
    return ""


def triggers_of(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words by which a LoRA was trained to show its subject, at most three.

    Its metadata name them (modelspec), or they are the tags that most training pictures share (kohya's tools).
    """
    phrase = metadata.get("modelspec.trigger_phrase", "")
    words = phrase.split(",") if phrase.strip() else _most_frequent_tags(metadata.get("ss_tag_frequency", ""))
    cleaned = dict.fromkeys(" ".join(word.split())[:TRIGGER_LENGTH] for word in words)
    return tuple(filter(None, cleaned))[:MAX_TRIGGERS]


def _most_frequent_tags(text: str) -> list[str]:
    """Return the most frequent tags in a JSON text of their counts by folder."""
    try:
        folders = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return []
    totals: Counter[str] = Counter()
    for folder in folders.values() if isinstance(folders, dict) else ():
        if isinstance(folder, dict):
            totals.update({tag: count for tag, count in folder.items() if isinstance(count, int)})
    most = max(totals.values(), default=0)
    return [tag for tag, count in totals.items() if count == most]
