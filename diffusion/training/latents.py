"""Scenes encoded once by the trained autoencoder, so that the denoiser never waits for pixels."""

import json
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
from diffusion.training.scenes import Scene

LATENTS, DESCRIPTIONS = "latents.safetensors", "descriptions.json"


def to_pixels(images: list[Image.Image]) -> Tensor:
    """Stack RGB images to (batch, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def encode_scenes(scenes: list[Scene], vae: AutoencoderKL, folder: Path, batch_size: int = 64) -> None:
    """Encode ``scenes`` and write to ``folder`` their latents, scaled to unit deviation, descriptions and weights.

    The autoencoder's ``scaling_factor`` must be set already (see `autoencoder.measure_scaling_factor`).
    """
    device = vae.device
    encoded = []
    for start in tqdm(range(0, len(scenes), batch_size), desc="encoding scenes", unit="batch"):
        pixels = to_pixels([scene.draw() for scene in scenes[start : start + batch_size]]).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            encoded.append(vae.encode(pixels).latent_dist.mode().float().cpu())
    folder.mkdir(parents=True, exist_ok=True)
    latents = torch.cat(encoded) * vae.config.scaling_factor
    weights = torch.tensor([scene.weight for scene in scenes])
    save_file({"latents": latents.half().contiguous(), "weights": weights}, folder / LATENTS)
    (folder / DESCRIPTIONS).write_text(json.dumps([asdict(scene.description) for scene in scenes]))


def read_latents(folder: Path) -> tuple[Tensor, Tensor, list[Description]]:
    """Read back latents (scenes, channels, height, width) in float32, weights (scenes,) and descriptions."""
    tensors = load_file(folder / LATENTS)
    rows = json.loads((folder / DESCRIPTIONS).read_text())
    descriptions = [
        Description(row["style"], tuple(row["names"]), tuple(row["keywords"]), tuple(row["phrases"])) for row in rows
    ]
    return tensors["latents"].float(), tensors["weights"], descriptions
