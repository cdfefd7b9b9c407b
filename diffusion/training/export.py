"""Export the networks of a run as a model folder in diffusers' layout."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from diffusion.families.classifier import NoisyLatentClassifier
from diffusion.training.config import DenoiserConfig
from diffusion.training.denoiser import SCHEDULER, Denoiser, open_denoiser
from diffusion.training.errors import ModelTooLargeError

LIMIT = 60_000_000  # bytes, the goal for a model in git
LOCAL_KEYS = ("_name_or_path", "name_or_path", "is_local", "local_files_only")  # they name local paths


def export(run: Path, config: DenoiserConfig, folder: Path, limit: int = LIMIT) -> int:
    """Write the last checkpoint of ``run`` as `assemble` does; return its bytes."""
    tokenizer = CLIPTokenizer.from_pretrained(run / "tokenizer")
    return assemble(open_denoiser(run, config, tokenizer, torch.device("cpu")), run, folder, limit)


def assemble(denoiser: Denoiser, run: Path, folder: Path, limit: int = LIMIT) -> int:
    """Write ``denoiser`` with the tokenizer and autoencoder of ``run`` in float16.

    It writes the averaged weights in diffusers' layout: model_index.json, scheduler, tokenizer, text_encoder, unet and vae. If
    the run has a classifier, it is written too; diffusers' pipelines ignore it. Other files in ``folder`` stay. Returns the
    size in bytes. Raises `ModelTooLargeError` above ``limit`` bytes, before it writes anything to ``folder``.
    """
    with TemporaryDirectory() as temporary:
        averaged = Path(temporary) / "averaged"
        model = Path(temporary) / "model"
        denoiser.save_pretrained(averaged)
        pipeline = StableDiffusionPipeline(
            vae=AutoencoderKL.from_pretrained(run / "vae", dtype=torch.float16),
            text_encoder=CLIPTextModel.from_pretrained(averaged / "text_encoder", dtype=torch.float16),
            tokenizer=CLIPTokenizer.from_pretrained(run / "tokenizer"),
            unet=UNet2DConditionModel.from_pretrained(averaged / "unet", dtype=torch.float16),
            scheduler=DDIMScheduler(**SCHEDULER),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(model)
        if (run / "classifier" / "config.json").exists():
            classifier = NoisyLatentClassifier.from_pretrained(run / "classifier", dtype=torch.float16)
            classifier.save_pretrained(model / "classifier")
        for name in ("vocab.json", "merges.txt"):  # transformers writes only tokenizer.json
            shutil.copyfile(run / "tokenizer" / name, model / "tokenizer" / name)
        for path in (*model.glob("*.json"), *model.glob("*/*config.json")):
            drop_local_keys(path)
        size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
        if size > limit:
            raise ModelTooLargeError(size, limit)
        shutil.copytree(model, folder, dirs_exist_ok=True)
    return size


def drop_local_keys(path: Path) -> None:
    """Take local paths out of a network's configuration."""
    settings = json.loads(path.read_text())
    kept = {key: value for key, value in settings.items() if key not in LOCAL_KEYS}
    path.write_text(json.dumps(kept, indent=2) + "\n")
