"""Canvases that extend an image; the model draws the rest."""

from typing import Final

from PIL import Image

from diffusion.errors import InvalidImageError
from diffusion.images.io import fit
from diffusion.images.masks import fill

# The shares of the added area to the left, above, to the right and below.
DIRECTIONS: Final = {
    "left": (1.0, 0.0, 0.0, 0.0),
    "right": (0.0, 0.0, 1.0, 0.0),
    "up": (0.0, 1.0, 0.0, 0.0),
    "down": (0.0, 0.0, 0.0, 1.0),
    "all": (0.5, 0.5, 0.5, 0.5),
}


def grow(size: tuple[int, int], direction: str, share: float) -> tuple[float, float]:
    """Return ``size`` with a ``share`` of it added in one of `DIRECTIONS`."""
    left, up, right, down = DIRECTIONS[direction]
    return size[0] * (1 + share * (left + right)), size[1] * (1 + share * (up + down))


def extend_canvas(
    picture: Image.Image, direction: str, *, share: float, size: tuple[int, int], cell: int
) -> tuple[Image.Image, Image.Image]:
    """Place ``picture`` on a canvas of ``size`` (width, height) that extends it.

    The canvas is larger than the picture by ``share`` in one of `DIRECTIONS`. Returns the canvas, whose rest continues the
    edges of the picture, and the mask of that rest. The border between them lies on latent cells of ``cell`` pixels. Raises
    `InvalidImageError` if the picture is too narrow for that.
    """
    width, height = size
    margin_left, margin_up, margin_right, margin_down = DIRECTIONS[direction]
    left, right = _picture_span(width, share, margin_left, margin_right, cell)
    top, bottom = _picture_span(height, share, margin_up, margin_down, cell)
    canvas = Image.new("RGB", (width, height))
    mask = Image.new("L", (width, height), 255)
    canvas.paste(fit(picture, right - left, bottom - top), (left, top))
    mask.paste(0, (left, top, right, bottom))
    return fill(canvas, mask), mask


def _picture_span(side: int, share: float, before: float, after: float, cell: int) -> tuple[int, int]:
    """Return where the picture begins and ends along a side of the canvas."""
    added = share * (before + after)
    cells = side // cell
    begin = max(1, round(cells * share * before / (1 + added))) if before else 0
    end = cells - max(1, round(cells * share * after / (1 + added))) if after else cells
    if end <= begin:
        raise InvalidImageError("The picture is too narrow to extend in that direction. Please attach a larger one.")
    return begin * cell, end * cell
