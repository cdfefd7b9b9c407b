"""Frames of JSON and PNG files, which bot and replicas exchange over HTTP.

A frame starts with the length of a JSON object (4 bytes, big endian). The object follows; its ``files`` lists the lengths of
the files. The files come last. No frame can carry code.
"""

import io
import json
import struct
from collections.abc import Iterable
from typing import Any, Final, Protocol

from PIL import Image

from diffusion.errors import DarkroomError
from diffusion.images.decoding import MAX_PIXELS, decode_picture

MEDIA_TYPE: Final = "application/x-darkroom-frames"
MAX_HEADER_BYTES: Final = 1 << 20  # of a frame's JSON
MAX_RESPONSE_BYTES: Final = 1 << 29  # of the files in a response; a morph has many frames
_LENGTH: Final = struct.Struct(">I")

Frame = tuple[dict[str, Any], list[bytes]]


class BrokenFrameError(DarkroomError):
    """The received bytes are no frame, or a frame over the size limit."""


class Reader(Protocol):
    """A stream of bytes.

    ``readexactly`` raises `asyncio.IncompleteReadError` if the stream ends early.
    """

    async def readexactly(self, n: int) -> bytes: ...  # noqa: D102


def encode_frame(head: dict[str, Any], files: Iterable[bytes] = ()) -> bytes:
    """Encode ``head`` and ``files`` as one frame."""
    files = list(files)
    text = json.dumps(head | {"files": [len(file) for file in files]}).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *files))


async def read_frame(reader: Reader, max_bytes: int) -> Frame:
    """Read the next frame, with at most ``max_bytes`` of files.

    Raises `BrokenFrameError`.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_HEADER_BYTES:
        raise BrokenFrameError("The frame is too large.")
    head, lengths = _decode_head(await reader.readexactly(length), max_bytes)
    return head, [await reader.readexactly(length) for length in lengths]


def decode_frame(data: bytes, max_bytes: int) -> Frame:
    """Decode one whole frame, with at most ``max_bytes`` of files.

    Raises `BrokenFrameError`.
    """
    start = _LENGTH.size
    if len(data) < start or (end := start + _LENGTH.unpack(data[:start])[0]) > min(len(data), MAX_HEADER_BYTES):
        raise BrokenFrameError("The data is no frame.")
    head, lengths = _decode_head(data[start:end], max_bytes)
    files = []
    for length in lengths:
        files.append(data[end : end + length])
        end += length
    if end != len(data):
        raise BrokenFrameError("The frame is incomplete.")
    return head, files


def _decode_head(text: bytes, max_bytes: int) -> tuple[dict[str, Any], list[int]]:
    try:
        head = json.loads(text)
        lengths = head.pop("files")
        if not all(isinstance(length, int) and length >= 0 for length in lengths) or sum(lengths) > max_bytes:
            raise ValueError(lengths)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise BrokenFrameError("The data is no frame.") from error
    return head, lengths


def encode_image(image: Image.Image) -> bytes:
    """Encode ``image`` as PNG, fast rather than small. Call it in a thread."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_image(file: bytes, mode: str = "RGB", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a file of `encode_image`. Call it in a thread.

    Raises `InvalidImageError`.
    """
    return decode_picture(file, max_pixels).image.convert(mode)
