"""Requests that continue a picture beyond its edges."""

from dataclasses import dataclass
from typing import Final

from PIL import Image

from diffusion.images.canvas import extend_canvas, grow
from diffusion.request import MAX_UPSCALED_SIDE, UPSCALES, ImageRequest, start_step_for

CONTINUITY: Final = 0.3  # share of the continued edges that is kept; with less, subjects end at the old border


@dataclass(frozen=True)
class Extension:
    """How to continue a picture: in one of `DIRECTIONS`, by a ``share`` of its size."""

    direction: str
    share: float

    def grow(self, size: tuple[int, int]) -> tuple[float, float]:
        """Return a picture's ``size`` with what is added."""
        return grow(size, self.direction, self.share)


def extended(
    request: ImageRequest, picture: Image.Image, extension: Extension, *, size: tuple[int, int], cell: int
) -> ImageRequest:
    """Return ``request`` for a canvas of ``size`` on which ``picture`` is continued.

    ``cell`` is the side of a latent cell in pixels. Raises `InvalidImageError` for a picture that is too narrow. Computes:
    call it in a thread.
    """
    canvas, hole = extend_canvas(picture, extension.direction, share=extension.share, size=size, cell=cell)
    width, height = size
    most = min(request.upscale, MAX_UPSCALED_SIDE // max(size))
    upscale = max((factor for factor in UPSCALES if factor <= most), default=1)
    started = request.img2img(canvas, start_step_for(CONTINUITY, request.steps))
    return started.replace(mask=hole, width=width, height=height, upscale=upscale)
