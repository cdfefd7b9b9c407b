"""Files of weights of many kinds, each with the names of a few of its tensors."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from diffusion.families.registry import FAMILIES

UNET = "model.diffusion_model"
LABELS = sorted({family.label for family in FAMILIES.values()})
KNOWN = f"Supported are models of {', '.join(LABELS)}."
CHANGES = "which only changes another model."
GUIDES = "which only guides another model."
LORA = f"it is a LoRA, {CHANGES} Put it into a folder that LORAS names. {KNOWN}"
LYCORIS = f"it is a LyCORIS network, {CHANGES} {KNOWN}"
EMBEDDING = f"it is an embedding (textual inversion). Put it into the folder that EMBEDDINGS names. {KNOWN}"
VAE = f"it is an autoencoder alone. The setting VAE may name it, for a model in one file that has none. {KNOWN}"
UPSCALER = f"it is a network that enlarges pictures. The setting UPSCALER may name it. {KNOWN}"
TEXT_ENCODER = f"it is a text encoder. {KNOWN}"
ATTENTION = "down_blocks.0.attentions.0"


def of(label: str) -> str:
    """Return the sentence for one file of the family ``label``."""
    if label in LABELS:
        instead = "Name a folder or hub id in diffusers' layout instead, which has its text encoders, too."
        return f"it is of {label} in one file. {instead}"
    return f"it is of {label}. {KNOWN}"


FILES = {  # by file: names of tensors, and the sentence that refuses it
    "kohya_lora": (["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"], LORA),
    "diffusers_lora": ([f"unet.{ATTENTION}.to_q.lora_A.weight"], LORA),
    "flux_lora": (["transformer.single_transformer_blocks.0.attn.to_q.lora_B.weight"], LORA),
    "locon": (["lora_unet_down_blocks_0_resnets_0_conv1.lora_mid.weight", "lora_unet_x.lora_up.weight"], LORA),
    "dora": (["lora_unet_x.dora_scale", "lora_unet_x.lora_up.weight"], f"it is a DoRA, {CHANGES} {KNOWN}"),
    "loha": (["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"], LYCORIS),
    "lokr": (["lora_unet_mid_block_attentions_0_proj_in.lokr_w1"], LYCORIS),
    "oft": (["lora_unet_mid_block_attentions_0_proj_in.oft_blocks"], LYCORIS),
    "embedding": (["emb_params"], EMBEDDING),
    "sdxl_embedding": (["clip_g", "clip_l"], EMBEDDING),
    "diffusers_embedding": (
        ["<cat-toy>"],
        "it is a single tensor. If it is an embedding (textual inversion), put it into the folder that EMBEDDINGS names. "
        + KNOWN,
    ),
    "controlnet": (["control_model.input_blocks.0.0.weight"], f"it is a ControlNet, {GUIDES} {KNOWN}"),
    "diffusers_controlnet": (["controlnet_cond_embedding.conv_in.weight", "x"], f"it is a ControlNet, {GUIDES} {KNOWN}"),
    "ip_adapter": (["ip_adapter.1.to_k_ip.weight", "image_proj.proj.weight"], f"it is an IP-Adapter, {GUIDES} {KNOWN}"),
    "t2i_adapter": (["adapter.body.0.resnets.0.block1.weight", "x"], f"it is a T2I-Adapter, {GUIDES} {KNOWN}"),
    "motion_module": (
        ["down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"],
        f"it is a motion module, {CHANGES} {KNOWN}",
    ),
    "bitsandbytes": (
        [f"{UNET}.double_blocks.0.img_attn.qkv.weight.absmax", f"{UNET}.double_blocks.0.img_attn.qkv.weight"],
        f"it is quantized by bitsandbytes. {KNOWN}",
    ),
    "sdxl": (
        ["conditioner.embedders.0.transformer.a", "conditioner.embedders.1.model.b"],
        f"it is the text encoders of Stable Diffusion XL without its UNet. {KNOWN}",
    ),
    "sdxl_refiner": (
        ["conditioner.embedders.0.model.ln_final.weight"],
        f"it is of Stable Diffusion XL's refiner. {KNOWN}",
    ),
    "flux1": ([f"{UNET}.double_blocks.0.img_attn.norm.key_norm.scale"], of("FLUX.1")),
    "flux1_diffusers": (["single_transformer_blocks.0.attn.to_q.weight"], of("FLUX.1")),
    "flux2": (["double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight"], of("FLUX.2")),
    "chroma": (["double_blocks.0.img_attn.qkv.weight", "distilled_guidance_layer.in_proj.bias"], of("Chroma")),
    "sd3": ([f"{UNET}.joint_blocks.0.context_block.adaLN_modulation.1.bias"], of("Stable Diffusion 3")),
    "z_image": ([f"{UNET}.layers.0.adaLN_modulation.0.weight", f"{UNET}.cap_embedder.0.weight"], of("Z-Image")),
    "lumina2": ([f"{UNET}.layers.0.adaLN_modulation.1.weight", f"{UNET}.cap_embedder.0.weight"], of("Lumina")),
    "qwen_image": (["transformer_blocks.0.img_mod.1.weight"], of("Qwen-Image")),
    "hidream": (["double_stream_blocks.0.block.attn1.to_q.weight", "x"], of("HiDream")),
    "auraflow": (["double_layers.0.attn.w1q.weight", "x"], of("AuraFlow")),
    "sana": (["blocks.0.cross_attn.q_linear.weight", "x"], of("SANA")),
    "pixart": (["y_embedder.y_embedding", "x"], of("PixArt")),
    "cascade": (["clip_txt_mapper.weight", "x"], of("Stable Cascade")),
    "ltx_video": (["patchify_proj.weight", "x"], of("LTX-Video")),
    "wan": (["head.modulation", "x"], of("Wan")),
    "hunyuan_video": (["txt_in.individual_token_refiner.blocks.0.weight", "x"], of("HunyuanVideo")),
    "autoencoder": (["encoder.conv_in.weight", "decoder.conv_in.weight"], VAE),
    "text_encoder": (["text_model.encoder.layers.0.layer_norm1.weight", "x"], TEXT_ENCODER),
    "t5": (["encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"], TEXT_ENCODER),
    "clip_vision": (["vision_model.embeddings.class_embedding", "x"], f"it is a network that reads pictures. {KNOWN}"),
    "esrgan": (["model.1.sub.0.RDB1.conv1.0.weight", "model.0.weight"], UPSCALER),
    "diffusers_unet": (
        ["down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"],
        f"it is one network of a model in diffusers' layout. Name the folder that holds all parts. {KNOWN}",
    ),
    "unet_alone": (
        [f"{UNET}.input_blocks.0.0.weight", f"{UNET}.out.2.weight"],
        "it has no text encoder of Stable Diffusion 1, 2 or XL. Name a file that has one, or a folder in diffusers' layout.",
    ),
    "unknown": (["a", "b"], f"it is none of the models that are known here. {KNOWN}"),
}


def write_file(folder: Path, name: str) -> Path:
    """Write the file ``name`` of `FILES` with tensors of one number."""
    path = folder / f"{name}.safetensors"
    save_file({tensor: torch.zeros(1) for tensor in FILES[name][0]}, path)
    return path
