"""A model in one file: Stable Diffusion 1 and 2 in the layout of their first release, as most tools share them."""

from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

PUBLISHED: Final = (
    Path(__file__).parents[1] / "published"
)  # what such a file lacks: the published configurations and vocabulary
KINDS: Final = {"cond_stage_model.transformer.": "sd1", "cond_stage_model.model.": "sd2"}  # by where the text encoder lies
PAD_TOKENS: Final = {"sd1": "<|endoftext|>", "sd2": "!"}
PREDICTIONS: Final = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}
SDXL: Final = "conditioner.embedders."


def load_checkpoint(path: Path, dtype: torch.dtype, published: Path = PUBLISHED) -> dict[str, Any]:
    """Load the components in the safetensors file ``path`` by the configurations in ``published``; nothing is downloaded.

    The file's own metadata (modelspec) may tell another size or kind of prediction than the published ones of Stable Diffusion
    1 (512 pixels, the noise) and 2 (768 pixels, v). Raises `ValueError` or `OSError` with what is wrong.
    """
    if path.suffix != ".safetensors":
        raise ValueError("a file must be in safetensors; pickles could run any code when they are opened and are not read.")
    if not path.is_file():
        raise ValueError("there is no such file.")
    try:
        with safe_open(path, "pt") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
    except SafetensorError as error:
        raise ValueError(f"it is not a whole safetensors file ({error}).") from error
    kind = _kind(names)
    config = str(published / kind)
    weights = load_file(path)

    def component(network: Any, folder: str) -> Any:
        # The weights of one component after the other are taken over, so that no two copies of all are there at a time.
        return network.from_single_file(dict(weights), config=config, subfolder=folder, dtype=dtype, local_files_only=True)

    unet = component(UNet2DConditionModel, "unet")
    if sides := metadata.get("modelspec.resolution"):
        unet.register_to_config(sample_size=int(sides.lower().partition("x")[0]) // 8)
    scheduler = dict(DDIMScheduler.load_config(config, subfolder="scheduler"))
    if told := PREDICTIONS.get(metadata.get("modelspec.prediction_type", "")):
        scheduler["prediction_type"] = told
    text_encoder = create_diffusers_clip_model_from_ldm(
        CLIPTextModel, dict(weights), "text_encoder", config, torch_dtype=dtype, local_files_only=True
    )
    if lacking := [name for name, parameter in text_encoder.named_parameters() if parameter.is_meta]:
        raise ValueError(f"{lacking[0]} of its text encoder and {len(lacking) - 1} more are missing.")
    return {
        "vae": component(AutoencoderKL, "vae"),
        "tokenizer": CLIPTokenizer.from_pretrained(PUBLISHED / "tokenizer", pad_token=PAD_TOKENS[kind]),
        "text_encoder": text_encoder,
        "unet": unet,
        "scheduler_config": scheduler,
    }


def _kind(names: list[str]) -> str:
    for prefix, kind in KINDS.items():
        if any(name.startswith(prefix) for name in names):
            return kind
    if any(name.startswith(SDXL) for name in names):
        raise ValueError("it is of Stable Diffusion XL; only Stable Diffusion 1 and 2 are understood.")
    raise ValueError("it has no text encoder where Stable Diffusion 1 and 2 have theirs.")
