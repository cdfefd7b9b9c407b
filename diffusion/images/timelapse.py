"""How pictures formed: what they were heading for after every step, kept as one tiny picture and played as an animation."""

import io
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from diffusion.images.animation import encode_animation
from diffusion.images.io import hstack, to_png
from diffusion.request import ImageRequest
from diffusion.result import ImageResult

SIDE: Final = 256  # of a picture as it is played, in pixels
FRAMES: Final = 48  # played at most, the finished pictures besides
ALL_STEPS, SLOWEST, FASTEST, FINISHED = 3000, 200, 60, 2500  # milliseconds for all steps, for one, and for the last frame
QUALITY: Final = 85
BRANCHES: Final = 25  # steps offered at most


def encode_timelapse(result: ImageResult) -> bytes:
    """Keep how the pictures of ``result`` formed: a PNG with a row for every step and a column for every picture."""
    return to_png(hstack(result.timelapses))


def animate_timelapse(film: bytes, request: ImageRequest, pictures: list[bytes]) -> bytes:
    """Animate a timelapse of ``request``: its numbered steps, then the finished ``pictures``."""
    with Image.open(io.BytesIO(film)) as kept:
        strip = kept.convert("RGB")
    scale = SIDE / max(request.width, request.height)
    size = round(request.width * scale), round(request.height * scale)
    width, height = strip.width // request.count, strip.height // (request.steps - request.start_step)
    shown = _spread(range(strip.height // height), FRAMES)
    frames = []
    for row in shown:
        boxes = [(left, row * height, left + width, (row + 1) * height) for left in range(0, strip.width, width)]
        frame = hstack([strip.crop(box).resize(size, Image.Resampling.BICUBIC) for box in boxes])
        frames.append(_numbered(frame, request.start_step + row + 1))
    finished = [Image.open(io.BytesIO(picture)).convert("RGB").resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    each = min(max(ALL_STEPS // len(shown), FASTEST), SLOWEST)
    return encode_animation([*frames, hstack(finished)], [each] * len(frames) + [FINISHED], quality=QUALITY)


def branch_steps(request: ImageRequest) -> list[int]:
    """Give steps from which ``request`` can branch, evenly spread where there are many."""
    return _spread(range(request.start_step + 1, request.steps), BRANCHES)


def _spread(numbers: range, most: int) -> list[int]:
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[round(index * (len(numbers) - 1) / (most - 1))] for index in range(most)]


def _numbered(frame: Image.Image, step: int) -> Image.Image:
    side = max(SIDE, frame.width // 2) // 14  # messages show four pictures side by side at half their size
    place, stroke = (side // 2, frame.height - side // 2), side // 9
    font = ImageFont.load_default(side)
    ImageDraw.Draw(frame).text(place, str(step), "white", font, anchor="ls", stroke_width=stroke, stroke_fill="black")
    return frame
