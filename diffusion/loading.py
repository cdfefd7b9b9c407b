"""Where a model comes from: a folder or hub id in diffusers' layout, safetensors only."""

import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import hf_hub_download
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from diffusion.classifier import NoisyLatentClassifier
from diffusion.defaults import read_defaults
from diffusion.device import best_device, best_dtype
from diffusion.errors import ModelNotLoaded

PRETRAINED = Path(__file__).with_name("pretrained")  # the embedded default model


def load(source: str, device: str | None, dtype: torch.dtype | None) -> dict[str, Any]:
    """Load the components of ``source`` one by one, by the names that `ImageDiffusionModel` gives them.

    Raises `ModelNotLoaded` with the reason.
    """
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        target = torch.device(device or best_device())
        precision = dtype or best_dtype(target)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries' quarrels with each other are not the operator's
            vae = _load(AutoencoderKL, source, "vae", precision).to(target)
            tokenizer = CLIPTokenizer.from_pretrained(source, subfolder="tokenizer")
            text_encoder = _load(CLIPTextModel, source, "text_encoder", precision).to(target)
            unet = _load(UNet2DConditionModel, source, "unet", precision).to(target)
            classifier = _load_classifier(source, target)
            scheduler_config = dict(DDIMScheduler.load_config(source, subfolder="scheduler"))
    # torch tells an unknown device by RuntimeError and one it was not built for by AssertionError.
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelNotLoaded(source, reason) from error
    if precision == torch.float16 and vae.config.force_upcast:
        vae = vae.float()  # its config says that it overflows in fp16
    # A missing tokenizer comes out of transformers as an empty one with its two special tokens.
    if not 2 < len(tokenizer) <= text_encoder.config.vocab_size:
        entries = text_encoder.config.vocab_size
        raise ModelNotLoaded(source, f"its tokenizer has {len(tokenizer)} entries and its text encoder {entries}")
    if classifier and classifier.config.in_channels != unet.config.in_channels:
        read, made = classifier.config.in_channels, unet.config.in_channels
        raise ModelNotLoaded(source, f"its classifier reads {read} latent channels and its UNet makes {made}")
    return {
        "vae": vae,
        "tokenizer": tokenizer,
        "text_encoder": text_encoder,
        "unet": unet,
        "scheduler_config": scheduler_config,
        "name": _name(source),
        "defaults": read_defaults(source),
        "classifier": classifier,
    }


def _load(component: Any, source: str, subfolder: str, dtype: torch.dtype) -> Any:
    return component.from_pretrained(source, subfolder=subfolder, dtype=dtype, use_safetensors=True)


def _load_classifier(source: str, device: torch.device) -> NoisyLatentClassifier | None:
    if not Path(source).is_dir():
        try:
            hf_hub_download(source, "classifier/config.json")
        except (OSError, ValueError):  # most models on the hub have none
            return None
    elif not (Path(source) / "classifier").is_dir():
        return None
    return _load(NoisyLatentClassifier, source, "classifier", torch.float32).to(device)


def _name(source: str) -> str:
    return "darkroom-embedded" if Path(source) == PRETRAINED else Path(source).name
