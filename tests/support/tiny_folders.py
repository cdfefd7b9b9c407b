"""Folders of many kinds of models, of toy size: each is the tiny Stable Diffusion model with changed configurations."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Folder:
    """A model whose configurations have ``changes`` by file.

    ``refused`` is a part of the sentence that refuses it, empty if it draws.
    """

    refused: str = ""
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)


INDEX, UNET, SCHEDULER, TEXT = (
    "model_index.json",
    "unet/config.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
)


def pipeline(name: str, **changes: dict[str, Any]) -> Folder:
    """Describe a model of another pipeline, refused by its name."""
    return Folder(f"it is a model for {name} of diffusers", {INDEX: {"_class_name": name}})


def refused_unet(words: str, **settings: Any) -> Folder:
    return Folder(words, {UNET: settings})


FOLDERS = {
    "sd1": Folder(changes={INDEX: {"_class_name": "StableDiffusionPipeline"}}),
    "sd1_inpaint_pipeline_4_channels": Folder(changes={INDEX: {"_class_name": "StableDiffusionInpaintPipeline"}}),
    "v_prediction": Folder(changes={SCHEDULER: {"prediction_type": "v_prediction"}}),
    "v_prediction_zero_snr": Folder(
        changes={SCHEDULER: {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}}
    ),
    "beta_sigmas": Folder(changes={SCHEDULER: {"_class_name": "EulerDiscreteScheduler", "use_beta_sigmas": True}}),
    "attention_mask": Folder(changes={TEXT: {"use_attention_mask": True}}),
    "null_sample_size": Folder(changes={UNET: {"sample_size": None}}),
    "square_sample_size": Folder(changes={UNET: {"sample_size": [4, 4]}}),
    "oblong": refused_unet(r"its UNet was trained with oblong pictures (sample_size [4, 8])", sample_size=[4, 8]),
    "lcm_scheduler": Folder(changes={SCHEDULER: {"_class_name": "LCMScheduler", "original_inference_steps": 50}}),
    "tcd_scheduler": Folder(changes={SCHEDULER: {"_class_name": "TCDScheduler"}}),
    "sd_turbo": Folder(changes={SCHEDULER: {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}}),
    "flow_match": Folder(
        "its scheduler is FlowMatchEulerDiscreteScheduler, whose noise schedule is not",
        {SCHEDULER: {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}},
    ),
    "flow_match_in_index": Folder(
        "its scheduler is FlowMatchEulerDiscreteScheduler",
        {INDEX: {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, SCHEDULER: {"_class_name": None}},
    ),
    "flow_sigmas": Folder("flow matching (use_flow_sigmas)", {SCHEDULER: {"use_flow_sigmas": True}}),
    "edm": Folder("its scheduler is EDMEulerScheduler", {SCHEDULER: {"_class_name": "EDMEulerScheduler"}}),
    "continuous": Folder("its timestep_type is 'continuous'", {SCHEDULER: {"timestep_type": "continuous"}}),
    "sample_prediction": Folder("its prediction_type is 'sample'", {SCHEDULER: {"prediction_type": "sample"}}),
    "flow_prediction": Folder("its prediction_type is 'flow_prediction'", {SCHEDULER: {"prediction_type": "flow_prediction"}}),
    "class_embedding": refused_unet("(class_embed_type is 'projection')", class_embed_type="projection"),
    "classes": refused_unet("(num_class_embeds is 1000)", num_class_embeds=1000),
    "image_projection": refused_unet("(encoder_hid_dim_type is 'image_proj')", encoder_hid_dim_type="image_proj"),
    "depth5": refused_unet("it is a model that reads depth: its UNet reads 5 channels", in_channels=5),
    "upscaler7": refused_unet("it is a model that enlarges pictures: its UNet reads 7 channels", in_channels=7),
    "pix2pix8": refused_unet("it is a model that edits pictures by instructions", in_channels=8),
    "inpaint9": refused_unet("it is a model for inpainting only: its UNet reads 9 channels and makes 4", in_channels=9),
    "learned_variance": refused_unet("its UNet reads 4 channels and makes 8", out_channels=8),
    "sixteen_channels": refused_unet("its UNet reads 16 channels and its autoencoder makes 4", in_channels=16, out_channels=16),
    "sdxl_unet": refused_unet(
        "as that of Stable Diffusion XL does (addition_embed_type is 'text_time')", addition_embed_type="text_time"
    ),
    "sdxl_pipeline": Folder(
        "its UNet takes neither a pooled text nor a size, as that of Stable Diffusion XL does",
        {INDEX: {"_class_name": "StableDiffusionXLPipeline"}},
    ),
    "unet_of_another_kind": refused_unet("its unet is of the kind UNetMotionModel", _class_name="UNetMotionModel"),
    "wide_text_encoder": Folder("its UNet needs more than this text encoder provides", {TEXT: {"hidden_size": 1024}}),
    "tiny_autoencoder": Folder("its vae is of the kind AutoencoderTiny", {INDEX: {"vae": ["diffusers", "AutoencoderTiny"]}}),
    "controlnet": Folder(
        "it has the part controlnet (ControlNetModel)", {INDEX: {"controlnet": ["diffusers", "ControlNetModel"]}}
    ),
    "no_text_encoder": Folder("its text_encoder is missing", {INDEX: {"text_encoder": [None, None]}}),
} | {
    name: pipeline(name)
    for name in (
        "StableDiffusion3ControlNetPipeline",
        "FluxFillPipeline",
        "FluxKontextPipeline",
        "FluxControlPipeline",
        "Flux2Pipeline",
        "Flux2KleinKVPipeline",
        "ZImageOmniPipeline",
        "QwenImageEditPipeline",
        "StableDiffusionInstructPix2PixPipeline",
        "StableUnCLIPPipeline",
        "StableDiffusionLatentUpscalePipeline",
        "MyOwnPipeline",
    )
}


def write_folder(folder: Path, model: Path, kind: Folder) -> Path:
    """Copy the ``model`` to ``folder`` and change its configurations; without weights if it is refused."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors") if kind.refused else None)
    for name, changes in kind.changes.items():
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder
