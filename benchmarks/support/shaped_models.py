"""Models of published shapes with random weights, built where they run: nothing about speed depends on what weights say."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffusion import ImageModel, load_model
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.device import best_device, best_dtype
from diffusion.loading.random_weights import configs, write_configs

SHAPES = {"sd1": 512, "sd2": 768}  # by family: the side that it was trained at
# The UNet of Stable Diffusion XL base 1.0, https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0, unet/config.json.
SDXL = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def model_for(model_id: str | None, shape: str | None = None, compiled: bool = False) -> ImageModel:
    """Load ``model_id``, the embedded model without one, or build one of ``shape``; ``compiled`` does as COMPILE=true."""
    model = shaped(shape) if shape else load_model(model_id)
    if compiled:
        model.compile()
    return model


def shaped(family: str) -> ImageModel:
    """Build a model of ``family``, one of `SHAPES`, on the best device in the precision that suits it."""
    device = torch.device(best_device())
    read = configs(family, factor=1, side=SHAPES[family])
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        write_configs(folder, family, factor=1, side=SHAPES[family])
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(best_dtype(device))
    try:
        with device:
            vae = AutoencoderKL.from_config(read["vae"])
            text_encoder = CLIPTextModel(CLIPTextConfig(**read["text_encoder"]))
            unet = UNet2DConditionModel.from_config(read["unet"])
    finally:
        torch.set_default_dtype(before)
    built = StableDiffusion(vae, tokenizer, text_encoder, unet, read["scheduler"])
    return ImageModel(built, name=f"{family}-shaped")


def sdxl_unet() -> UNet2DConditionModel:
    """Build the UNet of Stable Diffusion XL likewise; the engine cannot draw with it, but its speed can be measured."""
    device = torch.device(best_device())
    before = torch.get_default_dtype()
    torch.set_default_dtype(best_dtype(device))
    try:
        with device:
            return UNet2DConditionModel.from_config(dict(SDXL)).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def stable_diffusion(model: ImageModel) -> StableDiffusion:
    """Return the family of ``model``, which must be Stable Diffusion."""
    assert isinstance(model.family, StableDiffusion)
    return model.family
