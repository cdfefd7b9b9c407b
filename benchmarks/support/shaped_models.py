"""Models of published shapes with random weights, on which speed does not depend."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffusion import ImageModel, load_model
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.device import best_device, best_dtype
from diffusion.loading.random_weights import configs, write_configs

SHAPES = {"sd1": 512, "sd2": 768}  # family: the side in pixels of its training pictures


def model_for(
    model_id: str | None, shape: str | None = None, compiled: bool = False, dtype: torch.dtype | None = None
) -> ImageModel:
    """Load ``model_id`` or build a model of ``shape``; by default the embedded model.

    ``compiled`` compiles its UNet, as COMPILE=true does. ``dtype`` is by default that of the device.
    """
    model = build_model(shape, dtype) if shape else load_model(model_id, dtype=dtype)
    if compiled:
        model.compile()
    return model


def build_model(family: str, dtype: torch.dtype | None = None) -> ImageModel:
    """Build a model of ``family``, one of `SHAPES`, on the best device, in ``dtype`` or that of the device."""
    device = torch.device(best_device())
    model_configs = configs(family, factor=1, side=SHAPES[family])
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        write_configs(folder, family, factor=1, side=SHAPES[family])
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    default_dtype = torch.get_default_dtype()
    torch.set_default_dtype(dtype or best_dtype(device))
    try:
        with device:
            vae = AutoencoderKL.from_config(model_configs["vae"])
            text_encoder = CLIPTextModel(CLIPTextConfig(**model_configs["text_encoder"]))
            unet = UNet2DConditionModel.from_config(model_configs["unet"])
    finally:
        torch.set_default_dtype(default_dtype)
    built_family = StableDiffusion(vae, tokenizer, text_encoder, unet, model_configs["scheduler"])
    return ImageModel(built_family, name=f"{family}-shaped")


def build_sdxl_unet() -> UNet2DConditionModel:
    """Build the UNet of Stable Diffusion XL with random weights."""
    device = torch.device(best_device())
    default_dtype = torch.get_default_dtype()
    torch.set_default_dtype(best_dtype(device))
    try:
        with device:
            return UNet2DConditionModel.from_config(configs("sdxl", factor=1, side=1024)["unet"]).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(default_dtype)


def stable_diffusion(model: ImageModel) -> StableDiffusion:
    """Return the Stable Diffusion networks of ``model``."""
    assert isinstance(model.family, StableDiffusion)
    return model.family
