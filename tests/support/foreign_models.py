"""Repositories of models that are not drawn, each as a folder of a few small files, and the sentence that refuses it.

`WEIGHTS` stands for weights that nobody may read: read as such, it gives another sentence.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.tiny_files import KNOWN, LORA

WEIGHTS = b"weights"
IN_SAFETENSORS = "Name the same model with its weights in safetensors."
NOT_SUPPORTED = "This is not supported."
IN_FULL = "which is not supported. Name a model in 16 or 32 bits."
INDEX = "model_index.json"
UNET = "unet/diffusion_pytorch_model"


@dataclass(frozen=True)
class Foreign:
    """``files`` by path, JSON objects or bytes, and the ``sentence`` that refuses them.

    ``by_id`` is the sentence for a hub id, where it differs.
    """

    files: Mapping[str, Any]
    sentence: str
    by_id: str = ""


def pipeline(name: str) -> Foreign:
    """A repository for diffusers' pipeline ``name``."""
    files = {INDEX: {"_class_name": name}, "transformer/diffusion_pytorch_model.safetensors": WEIGHTS}
    return Foreign(files, f"it is a model for {name} of diffusers. {KNOWN}")


def sd(
    sentence: str, *, index: Mapping[str, Any] | None = None, files: Mapping[str, Any] | None = None, **unet: Any
) -> Foreign:
    """A repository for Stable Diffusion with changes, of which the UNet's are ``unet``."""
    first = {"_class_name": "StableDiffusionPipeline"} | dict(index or {})
    whole = {INDEX: first, "unet/config.json": unet, f"{UNET}.safetensors": WEIGHTS} | dict(files or {})
    return Foreign({name: content for name, content in whole.items() if content is not None}, sentence)


def alone(file: str, sentence: str, by_id: str = "") -> Foreign:
    """A repository with a single file of weights."""
    return Foreign({"README.md": b"", file: WEIGHTS}, sentence, by_id)


def part(sentence: str, **config: Any) -> Foreign:
    """A repository of a single network."""
    return Foreign({"config.json": config, "diffusion_pytorch_model.safetensors": WEIGHTS}, sentence)


def missing(what: str, *files: str) -> Foreign:
    """A repository for Stable Diffusion with ``files`` instead of the UNet's weights."""
    others = ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors")
    return sd(what, files={f"{UNET}.safetensors": None} | dict.fromkeys((*others, *files), WEIGHTS))


XL = {"_class_name": "StableDiffusionXLPipeline"}
QUANTIZED = {"quantization_config": {"quant_method": "torchao"}}
NO_INDEX = "it has no model_index.json"
PICKLED = "a pickle: opening one can run any code, so it is not read."
NO_UNET = "its unet/diffusion_pytorch_model.safetensors is missing."

REPOSITORIES = {
    "pixart_alpha": pipeline("PixArtAlphaPipeline"),
    "pixart_sigma": pipeline("PixArtSigmaPipeline"),
    "sana": pipeline("SanaPipeline"),
    "sana_sprint": pipeline("SanaSprintPipeline"),
    "lumina2": pipeline("Lumina2Pipeline"),
    "hidream": pipeline("HiDreamImagePipeline"),
    "auraflow": pipeline("AuraFlowPipeline"),
    "hunyuan_dit": pipeline("HunyuanDiTPipeline"),
    "cogview4": pipeline("CogView4Pipeline"),
    "omnigen": pipeline("OmniGenPipeline"),
    "kolors": pipeline("KolorsPipeline"),
    "bria": pipeline("BriaPipeline"),
    "ovis_image": pipeline("OvisImagePipeline"),
    "longcat_image": pipeline("LongCatImagePipeline"),
    "flux2_dev": pipeline("Flux2Pipeline"),
    "flux_kontext": pipeline("FluxKontextPipeline"),
    "qwen_image_edit": pipeline("QwenImageEditPipeline"),
    "kandinsky2": pipeline("KandinskyV22Pipeline"),
    "kandinsky5": pipeline("Kandinsky5T2IPipeline"),
    "cascade_prior": pipeline("StableCascadePriorPipeline"),
    "cascade_decoder": pipeline("StableCascadeDecoderPipeline"),
    "wuerstchen": pipeline("WuerstchenCombinedPipeline"),
    "deepfloyd": pipeline("IFPipeline"),
    "amused": pipeline("AmusedPipeline"),
    "unclip": pipeline("StableUnCLIPImg2ImgPipeline"),
    "upscaler_x4": pipeline("StableDiffusionUpscalePipeline"),
    "wan": pipeline("WanPipeline"),
    "wan_image_to_video": pipeline("WanImageToVideoPipeline"),
    "hunyuan_video": pipeline("HunyuanVideoPipeline"),
    "ltx_video": pipeline("LTXPipeline"),
    "stable_video": pipeline("StableVideoDiffusionPipeline"),
    "animatediff": pipeline("AnimateDiffPipeline"),
    "stable_audio": pipeline("StableAudioPipeline"),
    "refiner": sd(
        "it is the refiner of Stable Diffusion XL, which only goes over pictures of the base model. "
        "This is not supported. Name a base model.",
        index=XL | {"requires_aesthetics_score": True},
    ),
    "inpaint": sd(
        f"it is a model for inpainting only: its UNet reads 9 channels and makes 4. {NOT_SUPPORTED}",
        index={"_class_name": "StableDiffusionInpaintPipeline"},
        in_channels=9,
    ),
    "pix2pix": sd(
        "it is a model that edits pictures by instructions, as InstructPix2Pix: its UNet reads 8 channels and makes 4. "
        + NOT_SUPPORTED,
        in_channels=8,
    ),
    "depth": sd(f"it is a model that reads depth: its UNet reads 5 channels and makes 4. {NOT_SUPPORTED}", in_channels=5),
    "quantized_unet": sd(f"its unet is quantized by torchao, {IN_FULL}", **QUANTIZED),
    "quantized_text_encoder": sd(
        f"its text_encoder is quantized by bitsandbytes, {IN_FULL}",
        files={"text_encoder/config.json": {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}},
    ),
    "onnx": Foreign(
        {INDEX: {"_class_name": "OnnxStableDiffusionPipeline"}, "unet/model.onnx": WEIGHTS},
        f"its weights are in ONNX (OnnxStableDiffusionPipeline), which is not read. {IN_SAFETENSORS}",
    ),
    "flax": Foreign(
        {INDEX: {"_class_name": "FlaxStableDiffusionPipeline"}, "unet/diffusion_flax_model.msgpack": WEIGHTS},
        f"its weights are in Flax (FlaxStableDiffusionPipeline), which is not read. {IN_SAFETENSORS}",
    ),
    "openvino": Foreign(
        {INDEX: {"_class_name": "OVStableDiffusionPipeline"}, "unet/openvino_model.bin": WEIGHTS},
        f"its weights are in OpenVINO (OVStableDiffusionPipeline), which is not read. {IN_SAFETENSORS}",
    ),
    "onnx_without_index": alone("unet/model.onnx", f"its weights are in ONNX, which is not read. {IN_SAFETENSORS}"),
    "flax_weights": missing(
        f"{NO_UNET} There is only diffusion_flax_model.msgpack, whose format is not read.", "unet/diffusion_flax_model.msgpack"
    ),
    "pickled_weights": missing(f"{NO_UNET} There is only diffusion_pytorch_model.bin, {PICKLED}", f"{UNET}.bin"),
    "missing_shard": missing(
        "of the weights of its unet, shard 2 of 3 is missing. Get all shards.",
        f"{UNET}.safetensors.index.json",
        f"{UNET}-00001-of-00003.safetensors",
        f"{UNET}-00003-of-00003.safetensors",
    ),
    "gguf": alone(
        "model-Q4_K_M.gguf",
        "it is in GGUF, so it has one part of a model. The setting DENOISER may name it, and MODEL_ID the whole model."
        f" {KNOWN}",
    ),
    "ckpt": alone("model.ckpt", f"there is only model.ckpt, {PICKLED} {IN_SAFETENSORS}"),
    "single_file": alone(
        "model.safetensors",
        f"{NO_INDEX}. If model.safetensors in it is a model in one file, name the path of that file.",
        f"{NO_INDEX}. If model.safetensors in it is a model in one file, download that file and name its path.",
    ),
    "level_too_high": Foreign(
        {"some-model/model_index.json": {"_class_name": "StableDiffusionPipeline"}, "README.md": b""},
        f"{NO_INDEX}, but its folder some-model has one. Name that folder.",
        f"{NO_INDEX}, but its folder some-model has one. Download that folder and name its path.",
    ),
    "modular": Foreign(
        {"modular_model_index.json": {"_blocks_class_name": "Flux2AutoBlocks"}},
        f"it is a modular model (Flux2AutoBlocks). {KNOWN}",
    ),
    "lora": alone("pytorch_lora_weights.safetensors", LORA),
    "lora_of_peft": Foreign({"adapter_config.json": {"peft_type": "LORA"}, "adapter_model.safetensors": WEIGHTS}, LORA),
    "ip_adapter": alone("models/ip-adapter_sd15.safetensors", f"it is an IP-Adapter, which only guides another model. {KNOWN}"),
    "controlnet": part(
        f"it is a ControlNet, which only guides another model (ControlNetModel). {KNOWN}", _class_name="ControlNetModel"
    ),
    "autoencoder": part(
        f"it is an autoencoder alone. The setting VAE may name it, for a model in one file that has none. {KNOWN}",
        _class_name="AutoencoderKL",
    ),
    "unet": part(
        "it is one part of a model (UNet2DConditionModel). Name the folder that holds all parts and model_index.json.",
        _class_name="UNet2DConditionModel",
    ),
    "t5": part(
        f"it is a model of transformers (T5EncoderModel), which draws no pictures. {KNOWN}", architectures=["T5EncoderModel"]
    ),
    "clip": part(f"it is a model of transformers (CLIPModel), which draws no pictures. {KNOWN}", architectures=["CLIPModel"]),
    "nothing_known": Foreign(
        {"README.md": b""}, f"{NO_INDEX}, so it is no model in diffusers' layout. Name the folder that holds all its parts."
    ),
}


def write_repository(folder: Path, foreign: Foreign) -> Path:
    """Write the files of ``foreign`` to ``folder``."""
    for name, content in foreign.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder
