"""Convert colour modes to 8 bits, and colours to sRGB."""

import io
from typing import Final

from PIL import Image, ImageCms

PROFILE_SPACES: Final = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
SRGB: Final = ImageCms.createProfile("sRGB")


def to_8_bits(image: Image.Image) -> Image.Image:
    """Convert ``image`` to L, RGB or CMYK, with an alpha channel if it has transparency: LA or RGBA."""
    if image.mode.startswith("I;16"):  # `convert` would clip them
        return image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    clear = image.has_transparency_data
    if image.mode in ("1", "L", "LA", "La"):
        return image.convert("LA" if clear else "L")
    if image.mode == "CMYK":
        return image
    return image.convert("RGBA" if clear else "RGB")


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an image of `to_8_bits` to RGB, or RGBA if some pixel is transparent.

    ``profile`` is the ICC profile of its colours. Browsers take colours without a profile, and those whose profile is damaged
    or belongs to another colour space, for sRGB.
    """
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if alpha is not None and alpha.getextrema() == (255, 255):
        alpha = None
    colours = _convert(image.convert(image.mode.removesuffix("A")), profile) if profile else None
    if colours is None:
        mode = "RGB" if alpha is None else "RGBA"
        return image if image.mode == mode else image.convert(mode)
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


def _convert(image: Image.Image, profile: bytes) -> Image.Image | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != PROFILE_SPACES[image.mode]:
            return None
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
        return ImageCms.profileToProfile(image, source, SRGB, intent, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
