"""How bot and replicas speak: frames of JSON and PNG files over HTTP. Nothing that is read here can hold code.

A frame is a JSON object and any number of files: 4 bytes that tell its length (big endian), the object, whose ``files`` tells
the lengths of the files, and the files themselves.
"""

import io
import json
import struct
from collections.abc import Iterable
from typing import Any, Final, Protocol

from PIL import Image

from diffusion.errors import DarkroomError
from diffusion.images.io import MAX_PIXELS, decode

MEDIA_TYPE: Final = "application/x-darkroom-frames"
MAX_HEAD: Final = 1 << 20  # bytes of a frame's JSON
MAX_QUESTION: Final = 1 << 26  # bytes of the files that a replica reads
MAX_ANSWER: Final = 1 << 29  # and that the bot does: the frames of a morph are many
_LENGTH: Final = struct.Struct(">I")

Frame = tuple[dict[str, Any], list[bytes]]


class BrokenFrameError(DarkroomError):
    """What arrived is no frame, or a larger one than is read."""


class Reader(Protocol):
    """Gives the bytes of a stream; raises `asyncio.IncompleteReadError` where it ends before."""

    async def readexactly(self, n: int) -> bytes: ...  # noqa: D102


def pack(head: dict[str, Any], files: Iterable[bytes] = ()) -> bytes:
    """Make a frame."""
    files = list(files)
    text = json.dumps(head | {"files": [len(file) for file in files]}).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *files))


async def read(reader: Reader, most: int) -> Frame:
    """Read the next frame, whose files have at most ``most`` bytes together; raises `BrokenFrameError`."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_HEAD:
        raise BrokenFrameError("A frame is too large.")
    head, lengths = _head(await reader.readexactly(length), most)
    return head, [await reader.readexactly(length) for length in lengths]


def unpack(data: bytes, most: int) -> Frame:
    """Read ``data``, which is one whole frame; raises `BrokenFrameError`."""
    start = _LENGTH.size
    if len(data) < start or (end := start + _LENGTH.unpack(data[:start])[0]) > min(len(data), MAX_HEAD):
        raise BrokenFrameError("This is no frame.")
    head, lengths = _head(data[start:end], most)
    files = []
    for length in lengths:
        files.append(data[end : end + length])
        end += length
    if end != len(data):
        raise BrokenFrameError("This is no whole frame.")
    return head, files


def _head(text: bytes, most: int) -> tuple[dict[str, Any], list[int]]:
    try:
        head = json.loads(text)
        lengths = head.pop("files")
        if not all(isinstance(length, int) and length >= 0 for length in lengths) or sum(lengths) > most:
            raise ValueError(lengths)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise BrokenFrameError("This is no frame.") from error
    return head, lengths


def to_file(image: Image.Image) -> bytes:
    """Encode a picture without loss, quickly rather than small. Call it in a thread."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def to_image(file: bytes, mode: str = "RGB", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode what `to_file` gave; raises `InvalidImageError`. Call it in a thread."""
    return decode(file, max_pixels).convert(mode)
