"""Animated images and stills in WebP and GIF files, with their parameters."""

import io
from collections.abc import Sequence
from typing import Any, Final

from PIL import ExifTags, Image, ImageSequence

UNICODE: Final = b"UNICODE\0"  # how EXIF marks a comment in UTF-16, as A1111's tools write it


def encode_animation(
    frames: Sequence[Image.Image], milliseconds: Sequence[int], kind: str = "webp", text: str | None = None, **options: Any
) -> bytes:
    """Encode ``frames`` as a file of ``kind`` that loops forever.

    ``milliseconds`` holds the duration of each frame. One frame makes a still image. ``text`` is the parameters text;
    ``options`` are Pillow's for that kind.
    """
    if kind == "gif":
        frames = [_dither(frame) for frame in frames]
    if len(frames) > 1:
        options |= {"save_all": True, "append_images": frames[1:], "duration": list(milliseconds), "loop": 0}
    if text is not None:
        options |= {"comment": text.encode()} if kind == "gif" else {"exif": _to_exif(text)}
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, **options)
    return buffer.getvalue()


def decode_animation(data: bytes) -> tuple[list[Image.Image], list[int]]:
    """Return the frames of a file of `encode_animation` and their milliseconds."""
    with Image.open(io.BytesIO(data)) as image:
        mode = "RGBA" if image.has_transparency_data else "RGB"
        timed = [(frame.convert(mode), int(frame.info.get("duration", 0))) for frame in ImageSequence.Iterator(image)]
    frames, milliseconds = zip(*timed, strict=True)
    return list(frames), list(milliseconds)


def ping_pong(frames: Sequence[Image.Image], duration: int, pause: int) -> tuple[list[Image.Image], list[int]]:
    """Return ``frames`` forwards and backwards, with their milliseconds.

    Each direction takes ``duration`` milliseconds. The first and the last frame stay ``pause`` milliseconds longer.
    """
    each = max(duration // len(frames), 20)  # browsers slow down shorter frames
    loop = [*frames, *frames[-2:0:-1]]
    ends = {0, len(frames) - 1}
    return loop, [each + pause * (index in ends) for index in range(len(loop))]


def _dither(frame: Image.Image) -> Image.Image:
    """Reduce ``frame`` to 256 colours.

    Pillow dithers only to a palette that it is given.
    """
    rgb = frame.convert("RGB")
    return rgb.quantize(palette=rgb.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)


def _to_exif(text: str) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = UNICODE + text.encode("utf-16-be")
    return exif
