"""Masks (mode L): white is drawn anew, black stays."""

from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from diffusion.errors import InvalidRequestError
from diffusion.images.io import decode, fit, to_rgb

SEAM: Final = 4.0  # pixels over which a difference at the edge fades to 1 / e
SMOOTHNESS: Final = 32  # side of the image / radius of the blur


def binarize(mask: Image.Image) -> Image.Image:
    """Make ``mask`` black and white."""
    return mask.convert("L").point(lambda value: 255 * (value > 127))


def fit_mask(mask: Image.Image, width: int, height: int) -> Image.Image:
    """Scale and crop ``mask`` as `fit` does its image, in black and white."""
    return binarize(fit(mask, width, height))


def box_mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """Return a mask that is white in ``box``: left, top, right, bottom in pixels."""
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def mask_from_alpha(image: Image.Image) -> Image.Image | None:
    """Return the mask of what is mostly transparent, or None for an opaque image."""
    if not image.has_transparency_data:
        return None
    mask = binarize(ImageChops.invert(image.convert("RGBA").getchannel("A")))
    return mask if mask.getbbox() else None


def read_masked(data: bytes) -> tuple[Image.Image, Image.Image | None]:
    """Decode a file to RGB without its transparency, and its transparency as a mask.

    Raises `InvalidImageError` like `decode`.
    """
    image = decode(data)
    mask = mask_from_alpha(image)
    return (image.convert("RGBA").convert("RGB") if mask else to_rgb(image)), mask


def read_mask(data: bytes) -> Image.Image:
    """Decode a file to a mask: its transparency, or its light areas if it is opaque.

    Raises `InvalidImageError` like `decode`.
    """
    image = decode(data)
    return mask_from_alpha(image) or binarize(to_rgb(image))


def fit_and_fill(image: Image.Image, mask: Image.Image, width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """Fit ``image`` and ``mask`` to a size, and fill the mask with its surroundings.

    The mask may have another size than the image. Raises `InvalidRequestError` if it is black everywhere.
    """
    mask = fit_mask(mask.resize(image.size), width, height)
    if not mask.getbbox():
        raise InvalidRequestError("mask", "The mask is empty, so nothing would change. Please make some of it white.")
    return fill(fit(image, width, height), mask), mask


def mask_to_alpha(image: Image.Image, mask: Image.Image | None) -> Image.Image:
    """Make the white areas of ``mask`` transparent; `read_masked` inverts it."""
    if mask is None:
        return image
    masked = image.convert("RGBA")
    masked.putalpha(ImageChops.invert(mask))
    return masked


def fill(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Fill the white areas of ``mask`` with the nearest colours around them, blurred."""
    if not ImageChops.invert(mask).getbbox():
        return Image.new("RGB", image.size, "white")
    from scipy.ndimage import distance_transform_edt  # 20 MiB, which a bot needs only for masks

    nearest = distance_transform_edt(np.asarray(mask), return_distances=False, return_indices=True)
    extended = Image.fromarray(np.asarray(image)[tuple(nearest)])
    return Image.composite(extended.filter(ImageFilter.GaussianBlur(max(image.size) / SMOOTHNESS)), image, mask)


def restore_unmasked(image: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """Restore ``original`` exactly where ``mask`` is black, without a seam.

    The colour difference along the edge is added to the white side; it fades with the distance from the edge.
    """
    if not ImageChops.invert(mask).getbbox():
        return image
    from scipy.ndimage import distance_transform_edt

    distances, nearest = distance_transform_edt(np.asarray(mask), return_indices=True)
    drawn = np.asarray(image, np.float32)
    missing = (np.asarray(original, np.float32) - drawn)[tuple(nearest)]
    blended = drawn + missing * np.exp(-(distances - 1) / SEAM)[..., None]
    return Image.composite(Image.fromarray(blended.round().clip(0, 255).astype(np.uint8)), original, mask)
