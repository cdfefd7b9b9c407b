"""Where a model comes from: a folder or hub id in diffusers' layout, or one file; safetensors only."""

import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from diffusion.errors import ModelLoadError
from diffusion.families.classifier import NoisyLatentClassifier
from diffusion.families.defaults import read_defaults
from diffusion.loading.device import best_device, best_dtype
from diffusion.loading.hub import NoWeightsError, fetch, variant_of
from diffusion.loading.single_file import load_checkpoint

PRETRAINED = Path(__file__).parents[1] / "pretrained"  # the embedded default model
FOLDERS = ("vae", "tokenizer", "text_encoder", "unet", "scheduler", "classifier")
NETWORKS = ("vae", "text_encoder", "unet", "classifier")
FILES = (".safetensors", ".ckpt")


def load(source: str, device: str | None, dtype: torch.dtype | None, attention: str | None = None) -> dict[str, Any]:
    """Load the components of ``source`` one by one, by the names that `StableDiffusion` gives them.

    Raises `ModelLoadError` with the reason.
    """
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        target = torch.device(device or best_device())
        precision = dtype or best_dtype(target)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries' quarrels with each other are not the operator's
            if Path(source).is_file() or Path(source).suffix in FILES:
                parts = load_checkpoint(Path(source), precision)
            else:
                parts = _load_folder(fetch(source, FOLDERS, precision != torch.float32), precision)
            for network in filter(None, map(parts.get, NETWORKS)):
                network.to(target)
            if attention == "xformers":
                _use_xformers(parts["unet"])
    # torch tells an unknown device by RuntimeError and one it was not built for by AssertionError.
    except (NoWeightsError, OSError, ValueError, KeyError, ImportError, RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelLoadError(source, reason) from error
    if precision == torch.float16 and parts["vae"].config.force_upcast:
        parts["vae"].float()  # its config says that it overflows in fp16
    if problem := _misfit(parts):
        raise ModelLoadError(source, problem)
    return parts | {"name": _name(source)}


def _use_xformers(unet: UNet2DConditionModel) -> None:
    try:
        unet.enable_xformers_memory_efficient_attention()
    except (ImportError, ValueError) as error:
        told = "xformers needs CUDA and its package (pip install -e '.[gpu]'). Without ATTENTION, torch's own is used."
        raise ValueError(told) from error
    except NotImplementedError as error:  # its package is there, its kernels are not
        told = (
            "xformers has no kernels for this GPU and this torch: `python -m xformers.info` tells what it was built for. "
            "Without ATTENTION, torch's own is used."
        )
        raise ValueError(told) from error


def _load_folder(folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    classifier = None
    if (folder / "classifier").is_dir():
        classifier = _load(NoisyLatentClassifier, folder, "classifier", torch.float32)
    return {
        "vae": _load(AutoencoderKL, folder, "vae", dtype),
        "tokenizer": CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer"),
        "text_encoder": _load(CLIPTextModel, folder, "text_encoder", dtype),
        "unet": _load(UNet2DConditionModel, folder, "unet", dtype),
        "scheduler_config": dict(DDIMScheduler.load_config(folder, subfolder="scheduler")),
        "defaults": read_defaults(folder),
        "classifier": classifier,
    }


def _load(component: Any, folder: Path, name: str, dtype: torch.dtype) -> Any:
    files = [f"{name}/{file.name}" for file in (folder / name).glob("*")]
    loaded, report = component.from_pretrained(
        folder,
        subfolder=name,
        dtype=dtype,
        use_safetensors=True,
        variant=variant_of(files, name, dtype != torch.float32),
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):  # they would be random numbers
        raise ValueError(f"{missing[0]} of its {name} and {len(missing) - 1} more are missing.")
    return loaded


def _misfit(parts: dict[str, Any]) -> str | None:
    """Say what of a model does not fit together."""
    tokens, entries = len(parts["tokenizer"]), parts["text_encoder"].config.vocab_size
    # A missing tokenizer comes out of transformers as an empty one with its two special tokens.
    if not 2 < tokens <= entries:
        return f"its tokenizer has {tokens} entries and its text encoder {entries}"
    read, made = parts["unet"].config.in_channels, parts["vae"].config.latent_channels
    if read != made:
        return f"its UNet reads {read} channels and its autoencoder makes {made}"
    wide, width = parts["unet"].config.cross_attention_dim, parts["text_encoder"].config.hidden_size
    if wide != width or parts["unet"].config.addition_embed_type not in (None, "text"):  # "text" is the encoder's own, pooled
        return "its UNet wants more than this text encoder tells, as that of Stable Diffusion XL; only 1 and 2 are understood"
    classifier = parts.get("classifier")
    if classifier and classifier.config.in_channels != read:
        return f"its classifier reads {classifier.config.in_channels} latent channels and its UNet makes {read}"
    return None


def _name(source: str) -> str:
    path = Path(source)
    if path == PRETRAINED:
        return "darkroom-embedded"
    return path.stem if path.is_file() else path.name
