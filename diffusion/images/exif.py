"""Read orientation and texts out of EXIF blocks, each tag for itself."""

from collections.abc import Iterator
from typing import Any, Final

from PIL import ExifTags, Image

from diffusion.images.containers import decode_text

# How the first pixel of a file stands: EXIF's values and what turns them upright.
UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
QUARTER_TURNS: Final = frozenset(UPRIGHT[orientation] for orientation in (5, 6, 7, 8))  # these swap width and height
EXIF_PREFIX: Final = "exif:"  # of the names of texts
ENCODING_LENGTH: Final = 8  # bytes at the beginning of a UserComment
ENCODINGS: Final = (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"UNICODE\0", bytes(ENCODING_LENGTH))
WINDOWS_TAGS: Final = range(0x9C9B, 0x9CA0)  # XPTitle to XPSubject: bytes of UTF-16
MAX_TAGS: Final = 200


class ExifBlock:
    """An EXIF block; what is damaged in it counts as missing."""

    def __init__(self, data: bytes) -> None:
        self._exif = Image.Exif()
        try:
            self._exif.load(data)
        except Exception:  # Pillow's reader raises many kinds of errors
            self._exif = Image.Exif()

    @property
    def transposition(self) -> Image.Transpose | None:
        """What turns the picture upright, None if it is."""
        orientation = self._value(self._exif, ExifTags.Base.Orientation)
        return UPRIGHT.get(orientation) if isinstance(orientation, int) else None

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield the texts of all tags, by the names of `DecodedImage.texts`."""
        for block in (self._exif, self._sub_block()):
            for tag in list(block)[:MAX_TAGS]:
                text = _text(tag, self._value(block, tag))
                if text:
                    yield f"{EXIF_PREFIX}{ExifTags.TAGS.get(tag, tag)}", text

    def _sub_block(self) -> Any:
        try:
            return self._exif.get_ifd(ExifTags.IFD.Exif)
        except Exception:  # Pillow's reader raises many kinds of errors
            return {}

    def _value(self, block: Any, tag: int) -> Any:
        try:
            return block.get(tag)
        except Exception:  # Pillow's reader raises many kinds of errors
            return None


def _text(tag: int, value: Any) -> str:
    if isinstance(value, str):
        return _fix_latin(value).strip("\0 ")
    if isinstance(value, tuple) and value and tag in WINDOWS_TAGS:
        value = bytes(item & 0xFF for item in value if isinstance(item, int))
    if not isinstance(value, bytes):
        return ""
    if tag in WINDOWS_TAGS:
        return value.decode("utf-16-le", errors="replace").strip("\0")
    if tag == ExifTags.Base.UserComment:
        return decode_user_comment(value)
    return ""


def _fix_latin(text: str) -> str:
    """Return texts that Pillow read as Latin-1 as the UTF-8 that most programs write."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def decode_user_comment(data: bytes) -> str:
    """Decode EXIF's UserComment, in the encoding that its first 8 bytes name.

    Programs disagree on the byte order of UTF-16. The order that makes more of the text ASCII is right; settings are ASCII.
    """
    encoding = data[:ENCODING_LENGTH]
    if encoding not in ENCODINGS:
        return decode_text(data)
    body = data[ENCODING_LENGTH:]
    if encoding != b"UNICODE\0" or len(body) % 2:
        return decode_text(body)
    for mark, codec in ((b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le")):
        if body.startswith(mark):
            return body[2:].decode(codec, errors="replace").strip("\0")
    texts = [body.decode(codec, errors="replace").strip("\0") for codec in ("utf-16-be", "utf-16-le")]
    return max(texts, key=lambda text: len(text.encode("ascii", "ignore")))
