"""Enlarge pictures by a network, tile by tile, in bounded memory."""

from collections.abc import Callable
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from diffusion.errors import GenerationError
from diffusion.request import UPSCALES
from diffusion.text import N_

TILE: Final = 96  # pixels: the side of the part of a picture that is enlarged in one call
SMALL_TILE: Final = 32  # for a network that is slow on its device
MARGIN: Final = 16  # pixels around a tile that the network sees and that are cut off, so that tiles join without seams
NOT_FINITE: Final = N_("The upscaler could not calculate this picture. Please try another picture.")
Box = tuple[int, int, int, int]  # left, top, right and bottom in pixels


class Upscaler:
    """A ``network`` called ``name`` that makes pictures ``scale`` times as large.

    It maps (1, 3, height, width) to (1, 3, scale * height, scale * width), both in [0, 1], on the device and in the dtype of
    ``like``. One call enlarges a tile of ``tile`` pixels a side.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], *, scale: int, name: str, like: Tensor, tile: int = TILE) -> None:
        self.scale = scale
        self.name = name
        self.tile = tile
        self._network = network
        self._like = like

    @property
    def factors(self) -> tuple[int, ...]:
        """The factors by which it enlarges without making up for a smaller scale."""
        return tuple(factor for factor in UPSCALES if 1 < factor <= self.scale)

    def enlarge(self, image: Image.Image, factor: int) -> "Enlargement":
        """Begin to enlarge an RGB ``image`` by ``factor``, one of `factors`."""
        return Enlargement(self, image, factor)

    @torch.inference_mode()
    def enlarge_whole(self, image: Image.Image, factor: int) -> Image.Image:
        """Enlarge a small RGB ``image`` by ``factor`` in one call.

        Raises `GenerationError` if the network's output is not finite.
        """
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)
        pixels = pixels.permute(2, 0, 1)[None].to(self._like.device, self._like.dtype) / 255
        enlarged = self._network(pixels)[0].float()
        if not enlarged.isfinite().all():
            raise GenerationError(NOT_FINITE)
        array = (enlarged.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        size = factor * image.width, factor * image.height
        large = Image.fromarray(array)
        return large if large.size == size else large.resize(size, Image.Resampling.LANCZOS)


class Enlargement:
    """An enlarging in progress: `advance` enlarges one more tile, and the last one sets `image`.

    ``step_index`` counts the calls so far, of ``total``. Each is a call of one row.
    """

    rows: Final = 1

    def __init__(self, upscaler: Upscaler, image: Image.Image, factor: int) -> None:
        self._upscaler = upscaler
        self._source = image
        self._factor = factor
        self._tiles = tiles_of(*image.size, upscaler.tile)
        self._canvas = Image.new("RGB", (factor * image.width, factor * image.height))
        self.total = len(self._tiles)
        self.step_index = 0
        self.image: Image.Image | None = None

    def advance(self) -> None:
        """Enlarge the next tile; raises the errors of the network."""
        left, top, right, bottom = self._tiles[self.step_index]
        width, height = self._source.size
        seen = max(0, left - MARGIN), max(0, top - MARGIN), min(width, right + MARGIN), min(height, bottom + MARGIN)
        large = self._upscaler.enlarge_whole(self._source.crop(seen), self._factor)
        cut = (left - seen[0], top - seen[1], right - seen[0], bottom - seen[1])
        scaled = tuple(self._factor * side for side in cut)
        self._canvas.paste(large.crop(scaled), (self._factor * left, self._factor * top))  # type: ignore[arg-type]
        self.step_index += 1
        if self.step_index == self.total:
            self.image = self._canvas


def tiles_of(width: int, height: int, side: int) -> list[Box]:
    """Return the tiles of a picture, row by row."""
    return [
        (left, top, min(left + side, width), min(top + side, height))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
