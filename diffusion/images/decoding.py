"""Decode untrusted image files to pixels and texts.

A process that holds secrets does not call this itself for files of strangers: `cogs.core.messages.attachments.fetch_picture`
lets a sandboxed process do it.
"""

import codecs
import io
import math
import warnings
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final

from PIL import AvifImagePlugin, Image, ImageFile, UnidentifiedImageError

from diffusion.errors import InvalidImageError
from diffusion.images.colours import to_8_bits, to_srgb
from diffusion.images.containers import Metadata, decode_text, split_metadata, without_avif_exif
from diffusion.images.exif import QUARTER_TURNS, ExifBlock
from diffusion.text import N_

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")  # what browsers and Discord show
MAX_PIXELS: Final = 40_000_000
TOO_LARGE: Final = N_("The picture has {width}x{height} pixels. The limit is {most} million. Please attach a smaller one.")
TOO_MANY_PIXELS: Final = N_("The picture has too many pixels. Please attach a smaller one.")
NO_PICTURE: Final = N_("I cannot read this attachment as a picture. Please attach a PNG, JPEG, WebP, AVIF or GIF file.")
DAMAGED: Final = N_("The picture is damaged or incomplete. Please save it again, then attach it.")
REFUSALS: Final = (TOO_LARGE, TOO_MANY_PIXELS, NO_PICTURE, DAMAGED)  # all texts of the errors of `decode_picture`

AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Pillow checks for bombs after the limits here. Its warning must be an error, so that it reaches the member.
warnings.simplefilter("error", Image.DecompressionBombWarning)


@dataclass(frozen=True)
class DecodedImage:
    """All that is kept of an untrusted file: pixels and texts, no bytes of the file.

    - ``image``: RGB, or RGBA if some pixel is transparent; 8 bits, sRGB, upright, the first frame.
    - ``size``: width and height of the file, upright. ``image`` is smaller if it was to be shrunk.
    - ``format``: Pillow's name of the format, one of `FORMATS`.
    - ``animated``: whether there are more frames.
    - ``texts``: what other programs wrote into the file, decoded to str. Text chunks of a PNG have their keyword
      (``parameters``, ``prompt``, ``Comment``, …). EXIF texts are ``exif:`` and the tag's name as in `PIL.ExifTags.Base`
      (``exif:UserComment``, ``exif:Make``, ``exif:Model``, ``exif:ImageDescription``, ``exif:Software``, …); the marker of the
      encoding in front of a UserComment is removed and either byte order is read. The comment of a JPEG or GIF is
      ``comment``, XMP is ``xmp``. The first text of a name counts. Texts beyond `MAX_TEXT_CHARACTERS` characters of a file are
      left out.
    """

    image: Image.Image
    size: tuple[int, int]
    format: str = ""
    animated: bool = False
    texts: dict[str, str] = field(default_factory=dict)


def import_decoders() -> None:
    """Import what decoding would import on first use, before the files become out of reach."""
    Image.preinit()
    for module in ("WebPImagePlugin", "TiffImagePlugin", "MpoImagePlugin"):
        import_module(f"PIL.{module}")
    for codec in ("ascii", "latin-1", "utf-8", "utf-16-be", "utf-16-le"):
        codecs.lookup(codec)


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS, shrink_to: int | None = None) -> DecodedImage:
    """Decode a file in this process, shrunk to at most ``shrink_to`` pixels.

    Damaged metadata count as missing. Raises `InvalidImageError` unless the pixels are whole, in one of `FORMATS` and at most
    ``max_pixels``.
    """
    try:
        return _decode(data, max_pixels, shrink_to or max_pixels)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidImageError(TOO_MANY_PIXELS) from None
    except UnidentifiedImageError:
        raise InvalidImageError(NO_PICTURE) from None
    except (InvalidImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many kinds of errors for damaged files
        raise InvalidImageError(DAMAGED) from error


def decode_texts(data: bytes) -> tuple[dict[str, str], tuple[int, int] | None]:
    """Return `DecodedImage.texts` and the size of the picture, without decoding its pixels.

    Damaged files have no texts and no size.
    """
    try:
        pixels, metadata = split_metadata(data)
        with _open(pixels) as opened:
            exif = _complete(metadata, opened)
            width, height = opened.size
        return metadata.texts, (height, width) if exif.transposition in QUARTER_TURNS else (width, height)
    except Exception:  # Pillow's decoders raise many kinds of errors for damaged files
        return {}, None


def _open(data: bytes) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception:  # Pillow's reader of AVIF raises many kinds of errors for damaged EXIF
        if data[4:8] != b"ftyp":
            raise
        return Image.open(io.BytesIO(without_avif_exif(data)), formats=FORMATS)


def _decode(data: bytes, max_pixels: int, shrink_to: int) -> DecodedImage:
    pixels, metadata = split_metadata(data)
    with _open(pixels) as opened:
        width, height = opened.size
        if width * height > max_pixels:
            raise InvalidImageError(TOO_LARGE, width=width, height=height, most=f"{max_pixels / 1e6:g}")
        exif = _complete(metadata, opened)
        kind = opened.format or ""
        opened.seek(0)
        target = _shrunk(opened.size, shrink_to)
        if target != opened.size:
            opened.draft(None, target)  # a JPEG is decoded at an eighth, a quarter or half of its size
        opened.load()
        image = to_8_bits(opened)
    del opened  # and what its decoder holds
    image = to_srgb(_resize(image, target), metadata.profile)
    turn = exif.transposition
    if turn is not None:
        image = image.transpose(turn)
        width, height = (height, width) if turn in QUARTER_TURNS else (width, height)
    return DecodedImage(image, (width, height), kind, metadata.animated, metadata.texts)


def _complete(metadata: Metadata, opened: ImageFile.ImageFile) -> ExifBlock:
    """Add to ``metadata`` what Pillow found in the file and the texts of EXIF; return EXIF."""
    info = opened.info
    metadata.animated |= getattr(opened, "is_animated", False)
    metadata.profile = metadata.profile or info.get("icc_profile") or b""
    exif = ExifBlock(metadata.exif or info.get("exif") or b"")
    for name, text in exif.texts():
        metadata.add_text(name, text)
    for name in ("comment", "xmp"):
        value = info.get(name)
        if isinstance(value, bytes):
            metadata.add_text(name, decode_text(value))
    return exif


def _shrunk(size: tuple[int, int], most: int) -> tuple[int, int]:
    """Return ``size`` with at most ``most`` pixels."""
    width, height = size
    if width * height <= most:
        return size
    scale = math.sqrt(most / (width * height))
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize each channel for itself, so that transparent pixels keep their colours."""
    if image.size == size:
        return image
    channels = [image.getchannel(band).resize(size, Image.Resampling.LANCZOS) for band in image.getbands()]
    return Image.merge(image.mode, channels)
