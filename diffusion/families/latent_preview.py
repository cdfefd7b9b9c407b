"""Looking at latents without the decoder: the linear map from latent cells to colours that fits an autoencoder best."""

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

PICTURES, CELLS, PATCH = 8, 16, 4  # pictures of coloured patches to fit the map to; their sides in latent cells


@torch.inference_mode()
def fit_projection(vae: AutoencoderKL, latent_factor: int) -> Tensor:
    """Fit a (3, channels + 1) map from scaled latents and a constant to RGB in [-1, 1], by least squares.

    It is fitted to the latents that ``vae`` itself gives pictures of coloured patches, many of them in full colours, black or
    white: fitted to pale ones only, it makes white grounds grey.
    """
    generator = torch.Generator().manual_seed(0)
    colours = torch.empty(PICTURES, 3, CELLS // PATCH, CELLS // PATCH).uniform_(-1.6, 1.6, generator=generator).clamp(-1, 1)
    pixels = F.interpolate(colours, scale_factor=PATCH * latent_factor, mode="nearest")
    latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float() * vae.config.scaling_factor
    inputs = torch.cat([latents, torch.ones_like(latents[:, :1])], 1).movedim(1, -1).flatten(0, -2)
    targets = F.avg_pool2d(pixels, latent_factor).movedim(1, -1).flatten(0, -2).to(inputs.device)
    return torch.linalg.lstsq(inputs, targets).solution.T


def to_bytes(pixels: Tensor) -> Tensor:
    """Turn (images, 3, height, width) in [-1, 1] into (images, height, width, 3) in bytes, where they are."""
    return (pixels.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Turn (images, 3, height, width) in [-1, 1] into RGB images."""
    return [Image.fromarray(image) for image in to_bytes(pixels).cpu().numpy()]


def to_strip(frames: Sequence[Tensor]) -> Image.Image:
    """Lay ``frames``, each (height, width, 3) in bytes, below one another like the frames of a film."""
    return Image.fromarray(torch.cat(list(frames)).cpu().numpy())
