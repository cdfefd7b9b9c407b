"""Looking at latents without the decoder: the linear map from latent cells to colours that fits an autoencoder best."""

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

PATCHES, CELLS = 8, 8  # pictures of coloured patches to fit the map to, and their side in latent cells


@torch.inference_mode()
def fit_projection(vae: AutoencoderKL, latent_factor: int) -> Tensor:
    """Fit a (3, channels + 1) map from scaled latents and a constant to RGB in [-1, 1], by least squares.

    It is fitted to the latents that ``vae`` itself gives pictures of smooth coloured patches.
    """
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(PATCHES, 3, CELLS // 2, CELLS // 2, generator=generator) * 2 - 1
    pixels = F.interpolate(colours, scale_factor=2 * latent_factor, mode="nearest")
    latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float() * vae.config.scaling_factor
    inputs = torch.cat([latents, torch.ones_like(latents[:, :1])], 1).movedim(1, -1).flatten(0, -2)
    targets = F.avg_pool2d(pixels, latent_factor).movedim(1, -1).flatten(0, -2).to(inputs.device)
    return torch.linalg.lstsq(inputs, targets).solution.T


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Turn (images, 3, height, width) in [-1, 1] into RGB images."""
    scaled = (pixels.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(image) for image in scaled.permute(0, 2, 3, 1).cpu().numpy()]
