"""Masks: pictures (L) that say by white what of another is to be drawn anew, and what stays where they are black."""

from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from diffusion.errors import InvalidRequestError
from diffusion.images.io import decode, fit, to_rgb

SEAM: Final = 4.0  # pixels in which a difference at the edge of a mask fades to 1 / e
SMOOTHNESS: Final = 32  # the side of a picture over the radius by which its fillings are blurred


def binarize(mask: Image.Image) -> Image.Image:
    """Make ``mask`` black and white."""
    return mask.convert("L").point(lambda value: 255 * (value > 127))


def fit_mask(mask: Image.Image, width: int, height: int) -> Image.Image:
    """Scale and crop ``mask`` as `fit` does its picture, in black and white."""
    return binarize(fit(mask, width, height))


def box_mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """Make a mask of ``size`` that is white in ``box``: left, top, right, bottom in pixels."""
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def mask_from_alpha(image: Image.Image) -> Image.Image | None:
    """Take what ``image`` shows nothing of for its mask: where it is more than half transparent. None for an opaque one."""
    if not image.has_transparency_data:
        return None
    mask = binarize(ImageChops.invert(image.convert("RGBA").getchannel("A")))
    return mask if mask.getbbox() else None


def read_masked(data: bytes) -> tuple[Image.Image, Image.Image | None]:
    """Decode an attachment to RGB as it would be without its transparency, and to the mask that this is.

    Raises `InvalidImageError` like `decode`.
    """
    image = decode(data)
    mask = mask_from_alpha(image)
    return (image.convert("RGBA").convert("RGB") if mask else to_rgb(image)), mask


def read_mask(data: bytes) -> Image.Image:
    """Decode an attachment to a mask in black and white; where it has transparency, that is what counts as white.

    Raises `InvalidImageError` like `decode`.
    """
    image = decode(data)
    return mask_from_alpha(image) or binarize(to_rgb(image))


def fit_and_fill(image: Image.Image, mask: Image.Image, width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """Fit ``image`` and its ``mask``, which may have another size, and fill what is to be drawn with its surroundings.

    Raises `InvalidRequestError` where nothing is left to draw.
    """
    mask = fit_mask(mask.resize(image.size), width, height)
    if not mask.getbbox():
        raise InvalidRequestError("mask", "Nothing of the picture would be drawn anew: the mask must be white somewhere.")
    return fill(fit(image, width, height), mask), mask


def mask_to_alpha(image: Image.Image, mask: Image.Image | None) -> Image.Image:
    """Make what is white in ``mask`` transparent, for `read_masked` to read again."""
    if mask is None:
        return image
    masked = image.convert("RGBA")
    masked.putalpha(ImageChops.invert(mask))
    return masked


def fill(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Colour what is white in ``mask`` like the nearest of what is black, smoothed."""
    if not ImageChops.invert(mask).getbbox():
        return Image.new("RGB", image.size, "white")
    from scipy.ndimage import distance_transform_edt  # 20 MiB, which a bot needs only for masks

    nearest = distance_transform_edt(np.asarray(mask), return_distances=False, return_indices=True)
    extended = Image.fromarray(np.asarray(image)[tuple(nearest)])
    return Image.composite(extended.filter(ImageFilter.GaussianBlur(max(image.size) / SMOOTHNESS)), image, mask)


def restore_unmasked(image: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """Give exactly ``original`` where ``mask`` is black and ``image`` where it is white, without a seam.

    What ``image`` lacks to ``original`` along the edge is added to the white side, less and less farther from it.
    """
    if not ImageChops.invert(mask).getbbox():
        return image
    from scipy.ndimage import distance_transform_edt

    distances, nearest = distance_transform_edt(np.asarray(mask), return_indices=True)
    drawn = np.asarray(image, np.float32)
    lack = (np.asarray(original, np.float32) - drawn)[tuple(nearest)]
    blended = drawn + lack * np.exp(-(distances - 1) / SEAM)[..., None]
    return Image.composite(Image.fromarray(blended.round().clip(0, 255).astype(np.uint8)), original, mask)
