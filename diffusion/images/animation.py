"""Pictures and animations in files other than PNG, which say how they were made, too."""

import io
from collections.abc import Sequence
from typing import Any, Final

from PIL import ExifTags, Image, ImageSequence

UNICODE: Final = b"UNICODE\0"  # how EXIF marks a comment in UTF-16, which A1111's tools write and read


def encode_animation(
    frames: Sequence[Image.Image], milliseconds: Sequence[int], kind: str = "webp", text: str | None = None, **options: Any
) -> bytes:
    """Encode ``frames``, each shown for so many ``milliseconds``, in one file of ``kind`` that plays again and again.

    A single frame makes a still picture. ``text`` tells how they were made; ``options`` are Pillow's for that kind.
    """
    if kind == "gif":
        frames = [_dithered(frame) for frame in frames]
    if len(frames) > 1:
        options |= {"save_all": True, "append_images": frames[1:], "duration": list(milliseconds), "loop": 0}
    if text is not None:
        options |= {"comment": text.encode()} if kind == "gif" else {"exif": _exif(text)}
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, **options)
    return buffer.getvalue()


def decode_animation(data: bytes) -> tuple[list[Image.Image], list[int]]:
    """Give the frames of a file of ours and for how many milliseconds each is shown; a still picture has one."""
    with Image.open(io.BytesIO(data)) as image:
        mode = "RGBA" if image.has_transparency_data else "RGB"
        shown = [(frame.convert(mode), int(frame.info.get("duration", 0))) for frame in ImageSequence.Iterator(image)]
    frames, milliseconds = zip(*shown, strict=True)
    return list(frames), list(milliseconds)


def ping_pong(frames: Sequence[Image.Image], way: int, rest: int) -> tuple[list[Image.Image], list[int]]:
    """Let ``frames`` run to the last and back in ``way`` milliseconds each, and ``rest`` longer at both ends."""
    each = max(way // len(frames), 20)  # what is faster, browsers slow down
    there, back = list(frames), list(frames[-2:0:-1])
    ends = {0, len(there) - 1}
    both = there + back
    return both, [each + rest * (index in ends) for index in range(len(both))]


def read_comment(image: Image.Image) -> str:
    """Read the text that `encode_animation` wrote; nothing where there is none."""
    comment = image.info.get("comment", b"")
    if isinstance(comment, bytes) and comment:
        return comment.decode(errors="replace")
    written = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
    if isinstance(written, bytes) and written.startswith(UNICODE):
        return written.removeprefix(UNICODE).decode("utf-16-be", errors="replace")
    return ""


def _dithered(frame: Image.Image) -> Image.Image:
    """Choose the 256 colours of a GIF's frame; Pillow dithers only to a palette that it is given."""
    rgb = frame.convert("RGB")
    return rgb.quantize(palette=rgb.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)


def _exif(text: str) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = UNICODE + text.encode("utf-16-be")
    return exif
