"""The reconstruction loss of the autoencoder and its quality measure."""

import random

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from diffusion.training.augment import on_white
from diffusion.training.pictures import Picture
from diffusion.training.precision import autocast_bfloat16

GRADIENT_WEIGHT = 0.4
CHROMA_WEIGHT = 0.8
RGB_TO_LUMA_CHROMA = torch.tensor([[0.299, 0.587, 0.114], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])


def split(pictures: list[Picture], share: float = 0.02) -> tuple[list[Picture], list[Picture]]:
    """Split ``pictures`` into those to train on and those held out.

    A ``share`` of the names is held out, in all styles; the same names at every call.
    """
    names = sorted({picture.name for picture in pictures})
    held_out = set(random.Random(0).sample(names, max(1, round(share * len(names)))))
    return (
        [picture for picture in pictures if picture.name not in held_out],
        [picture for picture in pictures if picture.name in held_out],
    )


def to_rgba(pictures: list[Picture]) -> Tensor:
    """Decode to uint8 (pictures, 4, 128, 128)."""
    decoded = np.stack([np.asarray(picture.image()) for picture in pictures])
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).contiguous()


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each pair of images in dB, (batch,).

    Values are in [-1, 1].
    """
    error = ((a - b) / 2).pow(2).mean((1, 2, 3))
    return -10 * torch.log10(error.clamp(min=1e-10))


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Sum the absolute errors of pixels, gradients and low-resolution colours.

    Gradients count at two scales. L1 alone leaves edges soft and small areas in the wrong tint. Both images are (batch, 3,
    height, width) in [-1, 1].
    """
    error = output - target
    loss = error.abs().mean()
    for scaled in (error, F.avg_pool2d(error, 2)):
        loss = loss + GRADIENT_WEIGHT * (scaled.diff(dim=2).abs().mean() + scaled.diff(dim=3).abs().mean())
    rows = RGB_TO_LUMA_CHROMA.to(error.device)
    colour = torch.einsum("ij,bjhw->bihw", rows, F.avg_pool2d(error, 4))
    return loss + CHROMA_WEIGHT * (colour[:, 1:].abs().mean() + F.avg_pool2d(colour, 2).abs().mean())


@torch.inference_mode()
def reconstruct(vae: AutoencoderKL, pixels: Tensor, batch_size: int = 16) -> Tensor:
    """Encode and decode ``pixels``, (batch, 3, height, width) in [-1, 1].

    The result has the same shape, in float32 on the CPU.
    """
    outputs = []
    for batch in pixels.split(batch_size):
        with autocast_bfloat16(vae.device):
            latents = vae.encode(batch.to(vae.device)).latent_dist.mode()
            outputs.append(vae.decode(latents).sample.float().clamp(-1, 1).cpu())
    return torch.cat(outputs)


def held_out_psnr(vae: AutoencoderKL, pictures: list[Picture]) -> float:
    """Return the mean PSNR in dB of the held-out ``pictures``, on white."""
    pixels = on_white(to_rgba(split(pictures)[1]))
    return psnr(reconstruct(vae, pixels), pixels).mean().item()


def contact_sheet(pixels: Tensor, output: Tensor, columns: int = 14, rows: int = 2) -> Image.Image:
    """Show the first images of ``pixels`` above their reconstructions ``output``.

    Values are in [-1, 1].
    """
    strips = []
    for start in range(0, min(len(pixels), columns * rows), columns):
        for pictures in (pixels, output):
            strip = torch.cat(list(pictures[start : start + columns]), 2)
            strips.append(F.pad(strip, (0, columns * pictures.shape[3] - strip.shape[2]), value=1.0))
    sheet = (torch.cat(strips, 1) + 1) * 127.5
    return Image.fromarray(sheet.clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy())
