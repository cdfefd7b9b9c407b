"""Measures other than recognition: loss, diversity and copies of training data."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from diffusion.training.captions import captions
from diffusion.training.forward import q_sample, stratified_timesteps, velocity
from diffusion.training.latents import read_latents
from diffusion.training.precision import autocast_bfloat16

COMPARED_SIDE = 32  # pixels: compares shapes and colours, not grain
COPY_PSNR = 28.0  # dB at that size; from there on a sample is a copy


@dataclass(frozen=True)
class Nearest:
    """The index of the nearest training picture, and its PSNR in dB at 32x32."""

    index: int
    psnr: float


@torch.inference_mode()
def velocity_loss(model: Path, latents: Path, samples: int, device: torch.device, batch_size: int = 64) -> float:
    """Return the mean squared error of the velocity over ``samples`` training latents.

    Latents, captions (never dropped), noise and timesteps (stratified) are the same at every call, so models of one
    autoencoder can be compared.
    """
    unet = UNet2DConditionModel.from_pretrained(model / "unet", dtype=torch.float32).to(device)
    text_encoder = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.float32).to(device)
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    alphas_cumprod = DDIMScheduler.from_pretrained(model / "scheduler").alphas_cumprod
    stored, weights, descriptions = read_latents(latents)
    generator = torch.Generator().manual_seed(0)
    rows = torch.multinomial(weights, samples, replacement=True, generator=generator)
    texts = captions([descriptions[row] for row in rows.tolist()], 0.0, random.Random(0))
    timesteps = stratified_timesteps(samples, len(alphas_cumprod), generator)
    noise = torch.randn((samples, *stored.shape[1:]), generator=generator)
    total = 0.0
    for start in range(0, samples, batch_size):
        part = slice(start, start + batch_size)
        x_0 = stored[rows[part]].to(device)
        eps = noise[part].to(device)
        alpha_bar_t = alphas_cumprod[timesteps[part]].to(device)
        tokens = tokenizer(texts[part], padding="max_length", truncation=True, return_tensors="pt")
        with autocast_bfloat16(device):
            prompt_embeds = text_encoder(tokens.input_ids.to(device)).last_hidden_state
            noisy = q_sample(x_0, eps, alpha_bar_t)
            predicted = unet(noisy, timesteps[part].to(device), prompt_embeds).sample
        target = velocity(x_0, eps, alpha_bar_t)
        total += F.mse_loss(predicted.float(), target, reduction="sum").item()
    return total / noise.numel()


def diversity(images: Sequence[Image.Image], seeds: int) -> float:
    """Compare pictures of one prompt with pictures of different prompts.

    ``images`` holds ``seeds`` pictures of each prompt, at least 2, prompt by prompt. 0 means that seeds change nothing; 1
    means that two seeds differ as much as two prompts. Distances are root mean squares of pixels at 32x32.
    """
    pixels = _small(images)
    distances = torch.cdist(pixels, pixels)
    prompt = torch.arange(len(images)) // seeds
    same = prompt[:, None] == prompt[None]
    itself = torch.eye(len(images), dtype=torch.bool)
    return (distances[same & ~itself].mean() / distances[~same].mean()).item()


def nearest(samples: Sequence[Image.Image], training: Sequence[Image.Image]) -> list[Nearest]:
    """Find the picture of ``training`` nearest to each of ``samples`` at 32x32."""
    distances, indices = torch.cdist(_small(samples), _small(training)).min(1)
    values = 3 * COMPARED_SIDE**2
    psnr = -10 * torch.log10((distances.square() / values).clamp(min=1e-6))
    return [Nearest(index, value) for index, value in zip(indices.tolist(), psnr.tolist(), strict=True)]


def _small(images: Sequence[Image.Image]) -> Tensor:
    side = (COMPARED_SIDE, COMPARED_SIDE)
    pixels = [np.asarray(image.resize(side, Image.Resampling.BOX), np.float32).ravel() / 255 for image in images]
    return torch.from_numpy(np.stack(pixels))
