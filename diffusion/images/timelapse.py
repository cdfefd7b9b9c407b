"""Timelapses: the previews of all steps, kept as one small image and played back."""

import io
import math
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from diffusion.images.animation import encode_animation
from diffusion.images.io import grid, hstack, smooth, to_png, to_webp
from diffusion.request import ImageRequest
from diffusion.result import ImageResult

PLAYED_SIDE: Final = 256  # pixels, of one picture
PLAYED_GRID_SIDE: Final = 384  # pixels, of several
THUMBNAIL_SIDE: Final = 120  # pixels
MAX_FRAMES: Final = 48  # at most, without the finished pictures
TOTAL_MILLISECONDS: Final = 3000  # for all steps
MAX_STEP_MILLISECONDS: Final = 200
MIN_STEP_MILLISECONDS: Final = 60
FINISHED_MILLISECONDS: Final = 2500  # for the last frame
QUALITY: Final = 85
BRANCHES: Final = 25  # options of a select menu


def encode_timelapse(result: ImageResult) -> bytes:
    """Encode the previews of ``result`` as a PNG: a row per step, a column per image."""
    return to_png(hstack(result.timelapses))


def animate_timelapse(timelapse: bytes, request: ImageRequest, pictures: list[bytes]) -> bytes:
    """Animate a timelapse: its numbered steps, then the finished ``pictures``."""
    size = _size_within(min(PLAYED_SIDE, PLAYED_GRID_SIDE // _columns(request)), request)
    kept = _Strip(timelapse, request)
    shown = _spread(range(kept.steps), MAX_FRAMES)
    frames = [_draw_number(grid(kept.pictures(row, size)), request.start_step + row + 1) for row in shown]
    finished = [Image.open(io.BytesIO(picture)).convert("RGB").resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    each = min(max(TOTAL_MILLISECONDS // len(shown), MIN_STEP_MILLISECONDS), MAX_STEP_MILLISECONDS)
    return encode_animation([*frames, grid(finished)], [each] * len(frames) + [FINISHED_MILLISECONDS], quality=QUALITY)


def step_sheet(timelapse: bytes, request: ImageRequest) -> bytes:
    """Encode numbered thumbnails of the steps from which ``request`` can branch; no bytes if there are none."""
    steps = branch_steps(request)
    if not steps:
        return b""
    kept = _Strip(timelapse, request)
    size = _size_within(THUMBNAIL_SIDE // _columns(request), request)
    thumbnails = [(grid(kept.pictures(step - request.start_step - 1, size)), step) for step in steps]
    return to_webp(grid([_draw_number(thumbnail, step, THUMBNAIL_SIDE // 6) for thumbnail, step in thumbnails]))


class _Strip:
    """The previews of ``request``, which `encode_timelapse` has joined: a row per step, a column per image."""

    def __init__(self, timelapse: bytes, request: ImageRequest) -> None:
        with Image.open(io.BytesIO(timelapse)) as kept:
            self._image = kept.convert("RGB")
        self._width = self._image.width // request.count
        self._height = self._image.height // (request.steps - request.start_step)

    @property
    def steps(self) -> int:
        return self._image.height // self._height

    def pictures(self, row: int, size: tuple[int, int]) -> list[Image.Image]:
        """Return the previews of all images after a step, enlarged to ``size``."""
        top = row * self._height
        boxes = [(left, top, left + self._width, top + self._height) for left in range(0, self._image.width, self._width)]
        return [smooth(self._image.crop(box), size) for box in boxes]


def _columns(request: ImageRequest) -> int:
    """Return how many pictures `grid` puts beside each other."""
    return math.ceil(math.sqrt(request.count))


def _size_within(side: int, request: ImageRequest) -> tuple[int, int]:
    scale = side / max(request.width, request.height)
    return max(1, round(request.width * scale)), max(1, round(request.height * scale))


def branch_steps(request: ImageRequest) -> list[int]:
    """Return steps from which ``request`` can branch, evenly spread."""
    return _spread(range(request.start_step + 1, request.steps), BRANCHES)


def _spread(numbers: range, most: int) -> list[int]:
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[round(index * (len(numbers) - 1) / (most - 1))] for index in range(most)]


def _draw_number(frame: Image.Image, step: int, side: int = 0) -> Image.Image:
    side = side or max(PLAYED_SIDE, frame.width) // 14  # messages show wide frames smaller
    place = (side // 2, frame.height - side // 2)
    stroke = side // 9
    font = ImageFont.load_default(side)
    ImageDraw.Draw(frame).text(place, str(step), "white", font, anchor="ls", stroke_width=stroke, stroke_fill="black")
    return frame
