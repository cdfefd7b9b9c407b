"""Subjects cut out of the plain ground that they stand on, as emojis and stickers want them."""

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

WORKING_SIDE: Final = 512  # pixels: more than a sticker shows
FRAME: Final = 1 / 32  # of the shorter side: the border that tells what the ground is like
FAR: Final = 48.0  # RGB distance from the ground's colour that nothing plain has
PLAIN_SHARE: Final = 0.5  # of the border that must be nearer than that; the rest may be the subject
NEAR: Final = 8.0  # RGB distance that is always ground
NOISE: Final = 3.0  # how many times its usual distance the ground may go beyond that
EDGE: Final = 1 / 64  # of the shorter side, 3 pixels at least: how far an edge is blurred into the ground
SOLID: Final = 0.95  # of the strongest neighbour: not mixed with the ground
SPECK: Final = 1 / 50  # of the largest part: smaller ones are dirt
MARGIN: Final = 1 / 24  # of the subject's longer side, left free around it
EIGHT_NEIGHBOURS: Final = np.ones((3, 3))

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Cutout:
    """The subject of a picture as RGBA, and the ``picture`` (RGB) cropped to it with its ground, both square.

    ``subject`` is None where nothing stood on a plain ground; ``picture`` is its middle then.
    """

    subject: Image.Image | None
    picture: Image.Image

    def png(self, side: int, transparent: bool) -> bytes:
        """Encode it at ``side`` x ``side`` pixels, without its ground if ``transparent`` and possible.

        A PNG has hardly more than 4 bytes a pixel even of noise: 128 and 320 pixels always fit into 256 and 512 KiB.
        """
        image = self.subject if transparent and self.subject else self.picture
        buffer = io.BytesIO()
        image.resize((side, side), Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def cut_out(image: Image.Image) -> Cutout:
    """Cut the subject of ``image`` (RGB, any size) out of its ground and crop to it.

    Only what is connected to the border is ground, so the white of an eye stays.
    """
    image = image.convert("RGB")
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.HAMMING)  # Lanczos would draw a rim
    pixels = np.asarray(image, dtype=np.float32)
    alpha, ground = matte(pixels)
    if not alpha.any():
        side = min(image.size)
        return Cutout(None, ImageOps.fit(image, (side, side)))
    # The edge takes the colour of the nearest pixel that is all subject, so that no rim of the ground's colour is left.
    rows, columns = ndimage.distance_transform_edt(alpha < SOLID, return_distances=False, return_indices=True)
    soft = ndimage.gaussian_filter(alpha, _reach(alpha) / 6)
    subject = Image.fromarray(np.dstack([pixels[rows, columns], 255 * soft]).round().astype(np.uint8), "RGBA")
    left, top, right, bottom = subject.getbbox(alpha_only=True) or (0, 0, *image.size)
    longest = max(right - left, bottom - top)
    side = min(longest + 2 * round(longest * MARGIN), max(image.size))
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    red, green, blue = ground.round().astype(int).tolist()
    picture = Image.new("RGB", (side, side), (red, green, blue))
    picture.paste(image, (-_inside(x, side, image.width), -_inside(y, side, image.height)))
    return Cutout(subject.crop((x, y, x + side, y + side)), picture)


def matte(pixels: Array) -> tuple[Array, Array]:
    """Give how much of each pixel of an RGB picture (height x width x 3, 0 to 255) is subject, and the ground's colour.

    The first is height x width, 0 to 1; all 0 where no subject stands on a plain ground.
    """
    ground, tolerance = _ground(pixels)
    if not tolerance:
        return np.zeros(pixels.shape[:2]), ground
    return _alpha(np.linalg.norm(pixels - ground, axis=2), tolerance), ground


def _ground(pixels: Array) -> tuple[Array, float]:
    """Give the border's colour and how far from it is still ground: 0 where the border has no colour of its own."""
    frame = max(1, round(min(pixels.shape[:2]) * FRAME))
    colours = pixels[_border(pixels, frame)]
    ground = np.median(colours, axis=0)
    distances = np.linalg.norm(colours - ground, axis=1)
    plain = distances[distances < FAR]
    return ground, float(NEAR + NOISE * np.median(plain)) if len(plain) >= PLAIN_SHARE * len(distances) else 0


def _alpha(distances: Array, tolerance: float) -> Array:
    """Give how much of each pixel is subject, 0 to 1, from its RGB distance to the ground.

    A flood from the border through all that looks like ground finds the subject. A second one wears its edge down as far as
    pixels are weaker than the strongest of their neighbours, for those are mixed with the ground.
    """
    reach = _reach(distances)
    alike = ndimage.gaussian_filter(distances, reach / 3) < tolerance
    subject = _without_specks(~ndimage.binary_propagation(_border(distances, 1) & alike, mask=alike))
    strongest = ndimage.maximum_filter(distances * subject, 2 * reach + 1)
    share = ((distances - tolerance) / np.maximum(strongest - tolerance, 1)).clip(0, 1)
    mixed = ndimage.binary_dilation(~subject, EIGHT_NEIGHBOURS, reach) & (share < SOLID)
    edge = ndimage.binary_propagation(~subject, EIGHT_NEIGHBOURS, mixed | ~subject)
    return np.where(edge, share * subject, subject)


def _without_specks(mask: Array) -> Array:
    parts, count = ndimage.label(mask, EIGHT_NEIGHBOURS)
    sizes = ndimage.sum_labels(mask, parts, range(count + 1))
    kept: Array = (sizes >= SPECK * sizes.max())[parts] & mask
    return kept


def _inside(start: int, side: int, length: int) -> int:
    """Move a window of ``side`` pixels so that it lies within ``length`` of them, where it can."""
    return min(max(start, 0), length - side) if side <= length else (length - side) // 2


def _border(pixels: Array, width: int) -> Array:
    mask = np.ones(pixels.shape[:2], bool)
    mask[width:-width, width:-width] = False
    return mask


def _reach(pixels: Array) -> int:
    shorter_side: int = min(pixels.shape[:2])
    return max(3, round(shorter_side * EDGE))
