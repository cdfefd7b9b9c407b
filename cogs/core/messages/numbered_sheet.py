"""Several pictures as one, each with its number."""

import io
import math
from collections.abc import Mapping
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps

from diffusion.images.io import to_webp

TILE: Final = 300  # pixels, as all lengths here
GAP: Final = 8
MAX_COLUMNS: Final = 4  # so that the pictures are not too small on a phone
BADGE: Final = 62
TEXT_SIZE: Final = 42
BACKGROUND: Final = "#1e1f22"
EMPTY: Final = "#383a40"
TEXT: Final = "#f2f3f5"


def draw_sheet(pictures: Mapping[int, bytes | None]) -> bytes:
    """Return ``pictures``, by their numbers, as one WebP; the place of None is empty. Encodes: call it in a thread."""
    columns = min(MAX_COLUMNS, math.ceil(math.sqrt(len(pictures))))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * (TILE + GAP) - GAP, rows * (TILE + GAP) - GAP), BACKGROUND)
    canvas = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT_SIZE)
    for place, (number, data) in enumerate(pictures.items()):
        left = place % columns * (TILE + GAP)
        top = place // columns * (TILE + GAP)
        sheet.paste(_tile(data), (left, top))
        canvas.rectangle((left, top, left + BADGE, top + BADGE), fill=BACKGROUND)
        canvas.text((left + BADGE // 2, top + BADGE // 2), str(number), fill=TEXT, font=font, anchor="mm")
    return to_webp(sheet)


def _tile(data: bytes | None) -> Image.Image:
    """Return a picture in a square, whole."""
    if data is None:
        return Image.new("RGB", (TILE, TILE), EMPTY)
    with Image.open(io.BytesIO(data)) as opened:
        return ImageOps.pad(opened.convert("RGB"), (TILE, TILE), Image.Resampling.LANCZOS, color=EMPTY)
