"""Turn RGBA pictures into varied RGB training images."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# FCC NTSC: luma in the first row; a hue rotation turns the chroma plane of the others.
RGB_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
WHITE_SHARE = 0.65  # of pictures on white
UNSCALED_SHARE = 0.6  # of pictures in their own size
HUE_SHARE = 0.35  # of batches with rotated hues


def on_white(rgba: Tensor) -> Tensor:
    """Lay RGBA pictures on white.

    ``rgba`` is uint8 (batch, 4, height, width). The result is (batch, 3, height, width) in [-1, 1].
    """
    pixels = rgba.float() / 255
    return (pixels[:, :3] * pixels[:, 3:] + 1 - pixels[:, 3:]) * 2 - 1


def augment(rgba: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Scale, move, crop, mirror and re-hue RGBA pictures at random, on any background.

    ``rgba`` is uint8 (batch, 4, side, side). The result is (batch, 3, ``size``, ``size``) in [-1, 1]. ``generator`` lives on
    the CPU, so the draws are the same on every device.
    """
    batch, _, side, _ = rgba.shape
    pixels = rgba.float() / 255
    premultiplied = torch.cat([pixels[:, :3] * pixels[:, 3:], pixels[:, 3:]], 1)
    transforms = _transforms(batch, size / side, side, generator).to(rgba.device)
    grid = F.affine_grid(transforms, [batch, 4, size, size], align_corners=False)
    moved = F.grid_sample(premultiplied, grid, align_corners=False)
    colours = moved[:, :3]
    alpha = moved[:, 3:]
    if torch.rand((), generator=generator) < HUE_SHARE:
        angles = torch.rand(batch, generator=generator) * 2 * math.pi
        colours = rotate_hue(colours, angles.to(rgba.device)).minimum(alpha)
    plain = torch.rand(batch, 1, 1, 1, generator=generator) < WHITE_SHARE
    ground = torch.where(plain, 1.0, torch.rand(batch, 3, 1, 1, generator=generator)).to(rgba.device)
    return (colours + ground * (1 - alpha)).clamp(0, 1) * 2 - 1


def rotate_hue(rgb: Tensor, angles: Tensor) -> Tensor:
    """Turn the hue of RGB images by ``angles`` and keep their luma.

    ``rgb`` is (batch, 3, height, width); ``angles`` is (batch,) in radians.
    """
    to_yiq = RGB_TO_YIQ.to(rgb.device)
    turn = torch.zeros(len(rgb), 3, 3, device=rgb.device)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angles.cos()
    turn[:, 2, 1] = angles.sin()
    turn[:, 1, 2] = -angles.sin()
    matrices = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return torch.einsum("bij,bjhw->bihw", matrices, rgb).clamp(min=0)


def _transforms(batch: int, zoom: float, side: int, generator: torch.Generator) -> Tensor:
    """Draw affine maps from output to input coordinates, (batch, 2, 3).

    ``zoom`` is the side of the crop as a share of the picture's side.
    """

    def uniform() -> Tensor:
        return torch.rand(batch, generator=generator)

    unscaled = uniform() < UNSCALED_SHARE
    scale = torch.where(unscaled, 1.0, 1 / (0.6 + 0.45 * uniform()))
    mirror = 1 - 2 * (uniform() < 0.5).float()
    if zoom < 1:
        # Whole pixels, mostly near the middle of the picture.
        reach = (1 - zoom) * side / 2
        shifts = (torch.randn(2, batch, generator=generator) * 0.7 * reach).clamp(-reach, reach).round() / (side / 2)
    else:
        shifts = (torch.rand(2, batch, generator=generator) - 0.5) * 0.2 * ~unscaled
    transforms = torch.zeros(batch, 2, 3)
    transforms[:, 0, 0] = scale * zoom * mirror
    transforms[:, 1, 1] = scale * zoom
    transforms[:, 0, 2], transforms[:, 1, 2] = shifts
    return transforms
