"""Files of weights of many kinds, each with the names of a few of its tensors."""

from pathlib import Path

import torch
from safetensors.torch import save_file

UNET = "model.diffusion_model"
FILES = {  # by file: names of tensors, and a part of the sentence that refuses it
    "kohya_lora": (["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"], "it is a LoRA"),
    "diffusers_lora": (["unet.down_blocks.0.attentions.0.to_q.lora_A.weight"], "it is a LoRA"),
    "flux_lora": (["transformer.single_transformer_blocks.0.attn.to_q.lora_B.weight"], "it is a LoRA"),
    "loha": (["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"], "it is a LyCORIS network"),
    "lokr": (["lora_unet_mid_block_attentions_0_proj_in.lokr_w1"], "it is a LyCORIS network"),
    "embedding": (["emb_params"], "it is an embedding (textual inversion)"),
    "diffusers_embedding": (["<cat-toy>"], "it is an embedding (textual inversion)"),
    "sdxl_embedding": (["clip_g", "clip_l"], "it is an embedding (textual inversion)"),
    "controlnet": (["control_model.input_blocks.0.0.weight"], "it is a ControlNet"),
    "ip_adapter": (["ip_adapter.1.to_k_ip.weight", "image_proj.proj.weight"], "it is an IP-Adapter"),
    "motion_module": (["down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"], "it is a motion module"),
    "sdxl": (
        ["conditioner.embedders.0.transformer.a", "conditioner.embedders.1.model.b"],
        "it is the text encoders of Stable Diffusion XL without its UNet",
    ),
    "sdxl_refiner": (["conditioner.embedders.0.model.ln_final.weight"], "it is of Stable Diffusion XL's refiner"),
    "flux1": ([f"{UNET}.double_blocks.0.img_attn.norm.key_norm.scale"], "it is of FLUX.1"),
    "flux1_diffusers": (["single_transformer_blocks.0.attn.to_q.weight"], "it is of FLUX.1"),
    "flux2": (["double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight"], "it is of FLUX.2"),
    "chroma": (["double_blocks.0.img_attn.qkv.weight", "distilled_guidance_layer.in_proj.bias"], "it is of Chroma"),
    "sd3": ([f"{UNET}.joint_blocks.0.context_block.adaLN_modulation.1.bias"], "it is of Stable Diffusion 3"),
    "z_image": ([f"{UNET}.layers.0.adaLN_modulation.0.weight", f"{UNET}.cap_embedder.0.weight"], "it is of Z-Image"),
    "lumina2": ([f"{UNET}.layers.0.adaLN_modulation.1.weight", f"{UNET}.cap_embedder.0.weight"], "it is of Lumina"),
    "qwen_image": (["transformer_blocks.0.img_mod.1.weight"], "it is of Qwen-Image"),
    "autoencoder": (
        ["encoder.conv_in.weight", "decoder.conv_in.weight"],
        "an autoencoder alone, which the setting VAE may name",
    ),
    "text_encoder": (["text_model.encoder.layers.0.layer_norm1.weight", "x"], "it is a text encoder"),
    "t5": (["encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"], "it is a text encoder"),
    "esrgan": (["model.1.sub.0.RDB1.conv1.0.weight", "model.0.weight"], "it is a network that enlarges pictures"),
    "diffusers_unet": (
        ["down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"],
        "one network of a model in diffusers' layout",
    ),
    "unet_alone": ([f"{UNET}.input_blocks.0.0.weight", f"{UNET}.out.2.weight"], "it has no text encoder of Stable Diffusion"),
    "unknown": (["a", "b"], "it is none of the models that are known here"),
}


def write_file(folder: Path, name: str) -> Path:
    """Write the file ``name`` of `FILES` with tensors of one number."""
    path = folder / f"{name}.safetensors"
    save_file({tensor: torch.zeros(1) for tensor in FILES[name][0]}, path)
    return path
