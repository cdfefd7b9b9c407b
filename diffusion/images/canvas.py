"""Canvases larger than their picture, whose rest is to be drawn."""

from typing import Final

from PIL import Image

from diffusion.errors import InvalidImageError
from diffusion.images.io import fit
from diffusion.images.masks import fill

# Of what is added, how much goes to the left, above, to the right and below.
DIRECTIONS: Final = {
    "left": (1.0, 0.0, 0.0, 0.0),
    "right": (0.0, 0.0, 1.0, 0.0),
    "up": (0.0, 1.0, 0.0, 0.0),
    "down": (0.0, 0.0, 0.0, 1.0),
    "all": (0.5, 0.5, 0.5, 0.5),
}


def grow(size: tuple[int, int], direction: str, share: float) -> tuple[float, float]:
    """Give the proportions of ``size`` after a ``share`` of it was added in one of `DIRECTIONS`."""
    left, up, right, down = DIRECTIONS[direction]
    return size[0] * (1 + share * (left + right)), size[1] * (1 + share * (up + down))


def extend_canvas(
    picture: Image.Image, direction: str, share: float, width: int, height: int, cell: int
) -> tuple[Image.Image, Image.Image]:
    """Put ``picture`` on a canvas of ``width`` x ``height`` that has a ``share`` of it more in one of `DIRECTIONS`.

    Gives the canvas, whose rest continues the picture's edges, and the mask of that rest. Its border lies between latent cells
    of ``cell`` pixels. Raises `InvalidImageError` where the picture is too narrow for that.
    """
    margin_left, margin_up, margin_right, margin_down = DIRECTIONS[direction]
    left, right = _kept(width, share, margin_left, margin_right, cell)
    top, bottom = _kept(height, share, margin_up, margin_down, cell)
    canvas, mask = Image.new("RGB", (width, height)), Image.new("L", (width, height), 255)
    canvas.paste(fit(picture, right - left, bottom - top), (left, top))
    mask.paste(0, (left, top, right, bottom))
    return fill(canvas, mask), mask


def _kept(side: int, share: float, before: float, after: float, cell: int) -> tuple[int, int]:
    """Give where the picture begins and ends along a side of the canvas."""
    added = share * (before + after)
    cells = side // cell
    begin = max(1, round(cells * share * before / (1 + added))) if before else 0
    end = cells - max(1, round(cells * share * after / (1 + added))) if after else cells
    if end <= begin:
        raise InvalidImageError("The picture is too narrow to be continued there. Please attach one that is less so.")
    return begin * cell, end * cell
