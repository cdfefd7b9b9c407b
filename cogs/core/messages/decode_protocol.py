"""What the process that decodes a picture writes to its standard output.

The reply is one line of JSON, then the pixels. The reader trusts none of it: sizes are bounded, and texts for members come
from a fixed list.
"""

import json
from typing import Any, Final, Protocol

from PIL import Image

from diffusion.errors import InvalidImageError
from diffusion.images.containers import MAX_TEXT_CHARACTERS
from diffusion.images.decoding import FORMATS, REFUSALS, DecodedImage

MAX_HEADER_BYTES: Final = 6 * MAX_TEXT_CHARACTERS + 2**16  # JSON writes a control character in six bytes
CHANNELS: Final = {"RGB": 3, "RGBA": 4}


class BrokenReplyError(Exception):
    """The process wrote something else, or ended before it was done."""


class Stream(Protocol):
    """A file of bytes."""

    def readline(self, size: int, /) -> bytes: ...  # noqa: D102
    def read(self, size: int, /) -> bytes: ...  # noqa: D102


def encode_picture(picture: DecodedImage, guards: list[str]) -> tuple[bytes, bytes]:
    """Return the line and the pixels for ``picture``."""
    head = {
        "guards": guards,
        "mode": picture.image.mode,
        "image_size": picture.image.size,
        "size": picture.size,
        "format": picture.format,
        "animated": picture.animated,
        "texts": picture.texts,
    }
    return json.dumps(head).encode() + b"\n", picture.image.tobytes()


def encode_refusal(error: InvalidImageError) -> bytes:
    """Return the line for an error of `decode_picture`."""
    values = [error.values.get("width", 0), error.values.get("height", 0)]
    return json.dumps({"refusal": REFUSALS.index(error.template), "size": values}).encode() + b"\n"


def read_reply(stream: Stream, max_pixels: int, shrink_to: int) -> tuple[DecodedImage, list[str]]:
    """Read a reply; return the picture and the guards under which it was decoded.

    Raises `InvalidImageError` if the file was refused, and `BrokenReplyError`.
    """
    line = stream.readline(MAX_HEADER_BYTES)
    try:
        head = json.loads(line)
        if "refusal" in head:
            width, height = map(int, head["size"])
            raise InvalidImageError(REFUSALS[head["refusal"]], width=width, height=height, most=f"{max_pixels / 1e6:g}")
        return _read_picture(head, stream, shrink_to), [str(guard)[:20] for guard in head["guards"]][:10]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise BrokenReplyError(line[:100]) from error


def _read_picture(head: dict[str, Any], stream: Stream, shrink_to: int) -> DecodedImage:
    width, height = map(int, head["image_size"])
    length = width * height * CHANNELS[head["mode"]]
    if min(width, height) < 1 or width * height > shrink_to or head["format"] not in FORMATS:
        raise ValueError(head["image_size"])
    pixels = stream.read(length)
    texts = {str(name)[:80]: str(text) for name, text in head["texts"].items()}
    original = int(head["size"][0]), int(head["size"][1])
    image = Image.frombytes(head["mode"], (width, height), pixels)
    return DecodedImage(image, original, head["format"], head["animated"] is True, texts)
