"""Stable Diffusion 1 and 2 in one file, in the layout of their first release."""

from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

PUBLISHED: Final = Path(__file__).parents[1] / "published"  # configurations and vocabulary, which such a file lacks
FAMILY_BY_PREFIX: Final = {
    "cond_stage_model.transformer.": "sd1",
    "cond_stage_model.model.": "sd2",
}  # by the prefix of the text encoder's tensors
PAD_TOKENS: Final = {"sd1": "<|endoftext|>", "sd2": "!"}
PREDICTIONS: Final = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}
SDXL: Final = "conditioner.embedders."


def load_checkpoint(path: Path, dtype: torch.dtype, published: Path = PUBLISHED) -> dict[str, Any]:
    """Load the parts in the safetensors file ``path``, without downloads.

    The configurations come from ``published``. The file's metadata (modelspec) may name another size or kind of prediction
    than the published ones of Stable Diffusion 1 (512 pixels, epsilon) and 2 (768 pixels, v). Raises `ValueError` or `OSError`
    with the reason.
    """
    if path.suffix != ".safetensors":
        raise ValueError("a single file must be in safetensors. Opening a pickle can run any code, so it is not read.")
    if not path.is_file():
        raise ValueError("there is no such file.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
    except SafetensorError as error:
        raise ValueError(f"it is no complete safetensors file ({error}).") from error
    kind = _kind(names)
    config = str(published / kind)
    weights = load_file(path)

    def component(network: Any, folder: str) -> Any:
        # One part after the other takes its weights, so there are never two copies of all.
        return network.from_single_file(dict(weights), config=config, subfolder=folder, dtype=dtype, local_files_only=True)

    unet = component(UNet2DConditionModel, "unet")
    if sides := metadata.get("modelspec.resolution"):
        unet.register_to_config(sample_size=int(sides.lower().partition("x")[0]) // 8)
    scheduler = dict(DDIMScheduler.load_config(config, subfolder="scheduler"))
    if prediction_type := PREDICTIONS.get(metadata.get("modelspec.prediction_type", "")):
        scheduler["prediction_type"] = prediction_type
    text_encoder = create_diffusers_clip_model_from_ldm(
        CLIPTextModel, dict(weights), "text_encoder", config, torch_dtype=dtype, local_files_only=True
    )
    if missing := [name for name, parameter in text_encoder.named_parameters() if parameter.is_meta]:
        raise ValueError(f"{missing[0]} of its text encoder and {len(missing) - 1} more are missing.")
    return {
        "vae": component(AutoencoderKL, "vae"),
        "tokenizer": CLIPTokenizer.from_pretrained(PUBLISHED / "tokenizer", pad_token=PAD_TOKENS[kind]),
        "text_encoder": text_encoder,
        "unet": unet,
        "scheduler_config": scheduler,
    }


def _kind(names: list[str]) -> str:
    for prefix, kind in FAMILY_BY_PREFIX.items():
        if any(name.startswith(prefix) for name in names):
            return kind
    if any(name.startswith(SDXL) for name in names):
        raise ValueError("it is of Stable Diffusion XL; only Stable Diffusion 1 and 2 are supported.")
    raise ValueError("it has no text encoder of Stable Diffusion 1 or 2.")
