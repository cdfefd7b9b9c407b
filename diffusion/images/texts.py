"""The texts in a picture's file: text chunks of PNG, comments, EXIF and XMP, decoded to strings.

Nothing here imports another part of the project, so that a sandboxed process can use it.
"""

from collections.abc import Iterator
from typing import Any, Final

from PIL import ExifTags, Image

MAX_TEXT: Final = 2_000_000  # characters of all texts; the largest graphs of ComfyUI have as many
EXIF_PREFIX: Final = "exif:"
# How EXIF marks the encoding of a comment. A mark of zeros says nothing.
UNICODE: Final = b"UNICODE\0"
MARKS: Final = (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0\0\0\0\0\0\0\0")
UTF_16_TAGS: Final = ("XPTitle", "XPComment", "XPAuthor", "XPKeywords", "XPSubject")


def read_texts(image: Image.Image) -> dict[str, str]:
    """Return the texts of an opened file by name, at most `MAX_TEXT` characters together.

    Chunks of a PNG have their keyword, the comment of a JPEG or GIF is "comment", and XMP is "xmp". A text of EXIF is "exif:"
    and the name of its tag in `PIL.ExifTags.Base`. The first text of a name counts. Raises what Pillow raises for damaged
    files.
    """
    texts: dict[str, str] = {}
    left = MAX_TEXT
    for name, text in _all_texts(image):
        if text and name not in texts and len(text) <= left:
            texts[name] = text
            left -= len(text)
    return texts


def _all_texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    for name, text in getattr(image, "text", {}).items():
        yield name, str(text)
    if comment := image.info.get("comment"):
        yield "comment", _to_text(comment)
    exif = image.getexif()
    for tag, value in (*exif.items(), *exif.get_ifd(ExifTags.IFD.Exif).items()):
        name = ExifTags.TAGS.get(tag, str(tag))
        yield f"{EXIF_PREFIX}{name}", _decode_tag(name, value)
    if xmp := image.info.get("xmp"):
        yield "xmp", _to_text(xmp)


def _decode_tag(name: str, value: Any) -> str:
    if isinstance(value, bytes):
        if name in UTF_16_TAGS:
            return value.decode("utf-16-le", errors="replace").strip("\0")
        if name == "UserComment":
            return decode_comment(value)
    return _to_text(value)


def _to_text(value: Any) -> str:
    if isinstance(value, str):
        # Pillow reads texts in Latin-1, and most programs write UTF-8.
        try:
            value = value.encode("latin-1")
        except UnicodeEncodeError:
            return str(value)
    return decode_bytes(value).strip("\0") if isinstance(value, bytes) else ""


def decode_comment(data: bytes) -> str:
    """Decode EXIF's UserComment: a mark of eight bytes, then a text in its encoding.

    Programs disagree about the byte order of UTF-16, and some write UTF-8 under its mark.
    """
    if data.startswith(UNICODE):
        return _decode_unicode(data[len(UNICODE) :]).strip("\0")
    mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
    return decode_bytes(data[len(mark) :]).strip("\0")


def _decode_unicode(data: bytes) -> str:
    if b"\0" not in data[:-2] and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return decode_bytes(data)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    # The zeros of UTF-16 are the high bytes of spaces, digits and names of settings.
    is_little = data[1::2].count(0) > data[::2].count(0)
    return data.decode("utf-16-le" if is_little else "utf-16-be", errors="replace")


def decode_bytes(data: bytes) -> str:
    """Decode UTF-8, or else Latin-1."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
