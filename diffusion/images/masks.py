"""Masks (mode L): white is drawn anew, black stays."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from diffusion.errors import InvalidRequestError
from diffusion.images.decoding import decode_picture
from diffusion.images.io import fit, on_white
from diffusion.text import N_

EMPTY_MASK: Final = N_("The mask is empty, so nothing would change. Please make some of it white.")
SEAM: Final = 4.0  # pixels over which a difference at the edge fades to 1 / e
PLAIN_RANGE: Final = 32  # levels by which pixels of one colour differ at their edges
PLAIN_SHARE: Final = 0.9  # of the visible pixels of a drawn mask; the others are smooth edges
DARKEST_STROKE: Final = 96  # level of the strongest channel; darker strokes count as black
EXTREME_RANGE: Final = 48  # levels from black and from white
OPAQUE_SHARE: Final = 0.999  # of the pixels of a mask in which the others are an accident
SMOOTHNESS: Final = 32  # side of the image / radius of the blur
LINES: Final = 200  # side of the image / width of the line around a mask
DARKNESS: Final = 0.6  # brightness of what stays, where a mask is shown


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


def outline(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return ``image`` with a white and black line around the white areas of ``mask``, and the rest of it darker."""
    line = 2 * max(1, round(max(image.size) / LINES)) + 1
    inner = mask.filter(ImageFilter.MinFilter(line))
    border = ImageChops.subtract(mask, inner)
    outer = ImageChops.subtract(mask.filter(ImageFilter.MaxFilter(line)), mask)
    shown = Image.composite(image, ImageEnhance.Brightness(image).enhance(DARKNESS), mask)
    shown.paste("white", mask=border)
    shown.paste("black", mask=outer)
    return shown


def mask_from_alpha(image: Image.Image) -> Image.Image | None:
    """Return the mask of what is mostly transparent, or None for an opaque image."""
    if not image.has_transparency_data:
        return None
    mask = binarize(ImageChops.invert(image.convert("RGBA").getchannel("A")))
    return mask if mask.getbbox() else None


def split_mask(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return an RGB or RGBA image as RGB, and its transparency as a mask.

    Without a mask, half-transparent colours lie on white.
    """
    mask = mask_from_alpha(image)
    return (image.convert("RGB") if mask else on_white(image)), mask


def as_mask(image: Image.Image) -> Image.Image:
    """Return the mask that an RGB or RGBA image means.

    - Without transparency, its light areas.
    - Strokes of one colour on a transparent layer mark the part, unless they are black.
    - In a picture in black and white, white marks the part. Transparent pixels mark nothing.
    - In any other picture, the transparent part was cut out and is drawn anew.
    """
    if image.mode == "RGB":
        return binarize(image)
    rgb = image.convert("RGB")
    alpha = np.asarray(image.getchannel("A"))
    visible = alpha > alpha.max() / 2  # a brush may be half transparent everywhere
    colours = np.asarray(rgb)[visible].astype(np.int16)
    light = np.asarray(rgb.convert("L")) > 127
    if _has_one_colour(colours):
        marked = visible
    elif (visible & light).any() and _is_black_and_white(colours, visible.mean()):
        marked = visible & light
    else:
        return binarize(ImageChops.invert(image.getchannel("A")))
    mask = Image.fromarray(marked.astype(np.uint8) * np.uint8(255))
    # A single transparent pixel takes the value of its neighbours.
    return Image.composite(mask, mask.filter(ImageFilter.MedianFilter(3)), Image.fromarray(visible))


def _has_one_colour(colours: NDArray[np.int16]) -> bool:
    """Return whether most ``colours`` (pixels x 3) are alike, and not black."""
    if not len(colours):
        return False
    median = np.median(colours, axis=0)
    alike = np.abs(colours - median).max(axis=1) <= PLAIN_RANGE
    return bool(median.max() > DARKEST_STROKE and alike.mean() >= PLAIN_SHARE)


def _is_black_and_white(colours: NDArray[np.int16], share: float) -> bool:
    """Return whether most ``colours`` (pixels x 3) are black or white.

    Where the picture is opaque but for a few pixels (``share`` is nearly 1), greys count as well.
    """
    greys = colours.max(axis=1) - colours.min(axis=1) <= PLAIN_RANGE
    tones = colours.mean(axis=1)
    extremes = (tones < EXTREME_RANGE) | (tones > 255 - EXTREME_RANGE)
    return bool((greys & (extremes | (share > OPAQUE_SHARE))).mean() >= PLAIN_SHARE)


def read_masked(data: bytes) -> tuple[Image.Image, Image.Image | None]:
    """Decode a file to RGB without its transparency, and its transparency as a mask.

    Raises `InvalidImageError` like `decode_picture`.
    """
    return split_mask(decode_picture(data).image)


def read_mask(data: bytes) -> Image.Image:
    """Decode a file to a mask as `as_mask` does.

    Raises `InvalidImageError` like `decode_picture`.
    """
    return as_mask(decode_picture(data).image)


def fit_and_fill(image: Image.Image, mask: Image.Image, width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """Fit ``image`` and ``mask`` to a size, and fill the mask with its surroundings.

    The mask may have another size than the image. Raises `InvalidRequestError` if it is black everywhere.
    """
    mask = fit_mask(mask.resize(image.size), width, height)
    if not mask.getbbox():
        raise InvalidRequestError("mask", EMPTY_MASK)
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
