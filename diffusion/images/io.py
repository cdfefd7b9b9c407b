"""Read, scale and join pictures, and encode them as PNG."""

import io
import math
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageChops, ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo

from diffusion.images.decoding import MAX_PIXELS, decode_picture

SMOOTHING: Final = 0.3  # of a pixel, the radius of the blur that hides its edges


def read_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a file to RGB, with transparency on white.

    Raises `InvalidImageError` like `decode_picture`.
    """
    return on_white(decode_picture(data, max_pixels).image)


def on_white(image: Image.Image) -> Image.Image:
    """Return an RGB or RGBA image as RGB, with transparency on white."""
    if image.mode == "RGB":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


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


def halves(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return the left and the right half of ``image``."""
    middle = image.width // 2
    return image.crop((0, 0, middle, image.height)), image.crop((middle, 0, 2 * middle, image.height))


def grid(images: Sequence[Image.Image]) -> Image.Image:
    """Join ``images`` of one size to rows, in the squarest way."""
    columns = math.ceil(math.sqrt(len(images)))
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(len(images) / columns) * height), "white")
    for place, image in enumerate(images):
        sheet.paste(image, (place % columns * width, place // columns * height))
    return sheet


def smooth(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Enlarge ``image`` of few pixels to ``size`` without a trace of their edges."""
    return image.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(SMOOTHING * size[0] / image.width))


def to_webp(image: Image.Image, quality: int = 80) -> bytes:
    """Encode as lossy WebP."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()


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
