"""Previews without the decoder, by a linear map from latents to colours."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from diffusion.families.family import Family

# The map is fitted to pictures of coloured patches; their sides are in latent cells.
SAMPLE_IMAGES = 8
SAMPLE_CELLS = 16
PATCH_CELLS = 4


@torch.inference_mode()
def fit_projection(family: Family) -> Tensor:
    """Fit a map from latents and a constant to RGB in [-1, 1] by least squares.

    The map is (3, channels + 1), on the CPU. It is fitted to the latents of pictures of coloured patches, many of them in full
    colours, black or white: fitted to pale ones only, it makes white backgrounds grey.
    """
    generator = torch.Generator().manual_seed(0)
    patches = SAMPLE_CELLS // PATCH_CELLS
    colours = torch.empty(SAMPLE_IMAGES, 3, patches, patches).uniform_(-1.6, 1.6, generator=generator).clamp(-1, 1)
    pixels = F.interpolate(colours, scale_factor=PATCH_CELLS * family.latent_factor, mode="nearest")
    latents = family.to_latents(pixels.to(family.device, family.pixel_dtype), None)
    inputs = with_constant(latents).movedim(1, -1).flatten(0, -2)
    targets = F.avg_pool2d(pixels, family.latent_factor).movedim(1, -1).flatten(0, -2).to(inputs.device)
    colours_of_latents: torch.Tensor = torch.linalg.lstsq(inputs, targets).solution
    return colours_of_latents.T.cpu()


def project(projection: Tensor, latents: Tensor) -> Tensor:
    """Map latents (images, channels, h, w) to colours (images, h, w, 3) in bytes.

    Each latent cell becomes one pixel.
    """
    return to_bytes(torch.einsum("oc,bchw->bohw", projection, with_constant(latents)))


def with_constant(latents: Tensor) -> Tensor:
    """Append a channel of ones."""
    return torch.cat([latents, torch.ones_like(latents[:, :1])], 1)


def to_bytes(pixels: Tensor) -> Tensor:
    """Convert (images, 3, h, w) in [-1, 1] to (images, h, w, 3) in bytes.

    The result is on the same device.
    """
    return (pixels.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Convert (images, 3, height, width) in [-1, 1] to RGB images."""
    return [Image.fromarray(image) for image in to_bytes(pixels).cpu().numpy()]


def to_strip(previews: Sequence[Tensor]) -> Image.Image:
    """Stack ``previews``, each (height, width, 3) in bytes, into one tall image."""
    return Image.fromarray(torch.cat(list(previews)).cpu().numpy())
