"""Encode scenes to latents once, so that training never waits for pixels."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from diffusion.training.captions import Description
from diffusion.training.checkpoint import atomic_write
from diffusion.training.labels import Labels, labels_of
from diffusion.training.precision import autocast_bfloat16
from diffusion.training.scenes import Scene

LATENTS = "latents.safetensors"
DESCRIPTIONS_FILE = "descriptions.json"
LABELS_FILE = "labels.json"


def to_pixels(images: list[Image.Image]) -> Tensor:
    """Stack RGB images to (batch, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def encode_scenes(scenes: list[Scene], vae: AutoencoderKL, folder: Path, batch_size: int = 64) -> None:
    """Encode ``scenes``; write latents, descriptions and labels to ``folder``.

    The latents have unit deviation. The autoencoder's ``scaling_factor`` must be set (`autoencoder.measure_scaling_factor`).
    """
    device = vae.device
    encoded = []
    labels = []
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:  # workers use no network
        drawn = pool.map(_draw_and_label, scenes, chunksize=16)
        for start in tqdm(range(0, len(scenes), batch_size), desc="encoding scenes", unit="batch"):
            part = [next(drawn) for _ in scenes[start : start + batch_size]]
            labels += [label for _, label in part]
            pixels = to_pixels([image for image, _ in part]).to(device)
            with autocast_bfloat16(device):
                encoded.append(vae.encode(pixels).latent_dist.mode().float().cpu())
    latents = torch.cat(encoded) * vae.config.scaling_factor
    weights = torch.tensor([scene.weight for scene in scenes])
    # A running training may have these files open.
    with atomic_write(folder / LATENTS) as path:
        save_file({"latents": latents.half().contiguous(), "weights": weights}, path)
    for name, rows in ((DESCRIPTIONS_FILE, [scene.description for scene in scenes]), (LABELS_FILE, labels)):
        with atomic_write(folder / name) as path:
            path.write_text(json.dumps([asdict(row) for row in rows]))


def _draw_and_label(scene: Scene) -> tuple[Image.Image, Labels]:
    image = scene.draw()
    return image, labels_of(scene.subjects, image)


def read_latents(folder: Path) -> tuple[Tensor, Tensor, list[Description]]:
    """Read latents, weights and descriptions.

    Latents are float32 (scenes, channels, height, width); weights are (scenes,).
    """
    tensors = load_file(folder / LATENTS)
    rows = json.loads((folder / DESCRIPTIONS_FILE).read_text())
    descriptions = [
        Description(row["style"], tuple(row["names"]), tuple(row["keywords"]), tuple(row["phrases"])) for row in rows
    ]
    return tensors["latents"].float(), tensors["weights"], descriptions


def read_labels(folder: Path) -> list[Labels]:
    """Read the labels of the scenes, in the order of their latents."""
    return [
        Labels(tuple(row["subjects"]), row["group"], row["colour"]) for row in json.loads((folder / LABELS_FILE).read_text())
    ]
