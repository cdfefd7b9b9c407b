"""Timelapses: the previews of all steps, kept as one small image and played back."""

import io
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from diffusion.images.animation import encode_animation
from diffusion.images.io import hstack, to_png
from diffusion.request import ImageRequest
from diffusion.result import ImageResult

PLAYED_SIDE: Final = 256  # pixels
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
    with Image.open(io.BytesIO(timelapse)) as kept:
        strip = kept.convert("RGB")
    scale = PLAYED_SIDE / max(request.width, request.height)
    size = round(request.width * scale), round(request.height * scale)
    width, height = strip.width // request.count, strip.height // (request.steps - request.start_step)
    shown = _spread(range(strip.height // height), MAX_FRAMES)
    frames = []
    for row in shown:
        boxes = [(left, row * height, left + width, (row + 1) * height) for left in range(0, strip.width, width)]
        frame = hstack([strip.crop(box).resize(size, Image.Resampling.BICUBIC) for box in boxes])
        frames.append(_draw_number(frame, request.start_step + row + 1))
    finished = [Image.open(io.BytesIO(picture)).convert("RGB").resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    each = min(max(TOTAL_MILLISECONDS // len(shown), MIN_STEP_MILLISECONDS), MAX_STEP_MILLISECONDS)
    return encode_animation([*frames, hstack(finished)], [each] * len(frames) + [FINISHED_MILLISECONDS], quality=QUALITY)


def branch_steps(request: ImageRequest) -> list[int]:
    """Return steps from which ``request`` can branch, evenly spread."""
    return _spread(range(request.start_step + 1, request.steps), BRANCHES)


def _spread(numbers: range, most: int) -> list[int]:
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[round(index * (len(numbers) - 1) / (most - 1))] for index in range(most)]


def _draw_number(frame: Image.Image, step: int) -> Image.Image:
    side = max(PLAYED_SIDE, frame.width // 2) // 14  # messages show four pictures side by side at half their size
    place = (side // 2, frame.height - side // 2)
    stroke = side // 9
    font = ImageFont.load_default(side)
    ImageDraw.Draw(frame).text(place, str(step), "white", font, anchor="ls", stroke_width=stroke, stroke_fill="black")
    return frame
