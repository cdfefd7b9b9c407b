"""Decode untrusted image files to pixels, and encode pixels as PNG."""

import io
import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from diffusion.errors import InvalidImageError

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_PIXELS: Final = 40_000_000

# Pillow checks for bombs after `decode`. Its warning must be an error, so that it reaches the member.
warnings.simplefilter("error", Image.DecompressionBombWarning)


def read_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a file to RGB, with transparency on white.

    Raises `InvalidImageError` like `decode`.
    """
    return to_rgb(decode(data, max_pixels))


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a file in its own colour mode: the first frame, upright.

    Raises `InvalidImageError` unless the file is a whole image in one of `FORMATS` with at most ``max_pixels`` pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise InvalidImageError(
                    "The picture has {width}x{height} pixels. The limit is {most} million. Please attach a smaller one.",
                    width=width,
                    height=height,
                    most=f"{max_pixels / 1e6:g}",
                )
            image.seek(0)
            image.load()
            return ImageOps.exif_transpose(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidImageError("The picture has too many pixels. Please attach a smaller one.") from None
    except UnidentifiedImageError:
        raise InvalidImageError(
            "I cannot read this attachment as a picture. Please attach a PNG, JPEG, WebP or GIF file."
        ) from None
    except InvalidImageError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds of errors for damaged files
        raise InvalidImageError("The picture is damaged or incomplete. Please save it again, then attach it.") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any colour mode to 8-bit RGB, with transparency on white."""
    if image.mode.startswith("I;16"):  # `convert` would clip them
        values = np.array(image, dtype=np.uint16)
        # v / 257 in place; as floats the largest picture would take a gigabyte.
        values -= values >> 8
        values += 128
        values >>= 8
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale ``image`` to cover ``width`` x ``height`` and crop it to its middle."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def hstack(images: Sequence[Image.Image]) -> Image.Image:
    """Join ``images`` side by side."""
    sheet = Image.new("RGB", (sum(image.width for image in images), max(image.height for image in images)), "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width
    return sheet


def enlarge(image: Image.Image, factor: int) -> Image.Image:
    """Enlarge ``image`` by a whole ``factor`` with Lanczos and sharpening.

    The sharpened colours are clamped to the range of each pixel's neighbours. That keeps edges steep and removes the halos of
    sharpening.
    """
    if factor == 1:
        return image
    size = image.width * factor, image.height * factor
    smooth = image.resize(size, Image.Resampling.LANCZOS)
    sharp = smooth.filter(ImageFilter.UnsharpMask(radius=1.5 * factor, percent=200, threshold=0))
    lowest, highest = (
        image.filter(extreme(3)).resize(size, Image.Resampling.BILINEAR)
        for extreme in (ImageFilter.MinFilter, ImageFilter.MaxFilter)
    )
    return ImageChops.lighter(ImageChops.darker(sharp, highest), lowest)


def to_png(image: Image.Image, parameters: str | None = None) -> bytes:
    """Encode as PNG, with ``parameters`` as a text chunk of that name."""
    info = PngInfo()
    if parameters is not None:
        info.add_itxt("parameters", parameters)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
