"""Cut subjects out of a plain background, for emoji and stickers."""

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, ImageOps

WORKING_SIDE: Final = 512  # pixels: more than a sticker shows
BORDER_SHARE: Final = 1 / 32  # of the shorter side: the border that shows the background
MAX_PLAIN_DISTANCE: Final = 48.0  # RGB distance from the background: no plain border pixel reaches it
MIN_PLAIN_SHARE: Final = 0.5  # of the border that must be nearer; the rest may be the subject
MIN_TOLERANCE: Final = 8.0  # RGB distance that always counts as background
TOLERANCE_FACTOR: Final = 3.0  # multiple of the border's median distance that is added
EDGE_SHARE: Final = 1 / 64  # of the shorter side, 3 pixels at least: how far an edge blurs into the background
SOLID_SHARE: Final = 0.95  # of the strongest neighbour: not mixed with background
MIN_PART_SHARE: Final = 1 / 50  # of the largest part: smaller parts are dirt
MARGIN_SHARE: Final = 1 / 24  # of the subject's longer side, left free around it
EIGHT_NEIGHBOURS: Final = np.ones((3, 3))

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Cutout:
    """A subject as RGBA, and the ``picture`` (RGB) cropped to it; both are square.

    ``subject`` is None if no subject stands on a plain background. Then ``picture`` is the middle of the image.
    """

    subject: Image.Image | None
    picture: Image.Image

    def png(self, side: int, transparent: bool) -> bytes:
        """Encode it at ``side`` x ``side`` pixels.

        With ``transparent`` the background is left out, if there is a subject. A PNG has little more than 4 bytes a pixel even
        for noise, so 128 and 320 pixels always fit into 256 and 512 KiB.
        """
        image = self.subject if transparent and self.subject else self.picture
        buffer = io.BytesIO()
        image.resize((side, side), Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def cut_out(image: Image.Image) -> Cutout:
    """Cut the subject of ``image`` out of its background and crop to it.

    Only areas connected to the border are background, so the white of an eye stays.
    """
    from scipy import ndimage  # 20 MiB, which a bot needs only for cutouts

    image = image.convert("RGB")
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.HAMMING)  # Lanczos would draw a rim
    pixels = np.asarray(image, dtype=np.float32)
    alpha, ground = matte(pixels)
    if not alpha.any():
        side = min(image.size)
        return Cutout(None, ImageOps.fit(image, (side, side)))
    # The edge takes the colour of the nearest solid pixel, so no rim in the background's colour is left.
    rows, columns = ndimage.distance_transform_edt(alpha < SOLID_SHARE, return_distances=False, return_indices=True)
    soft = ndimage.gaussian_filter(alpha, _edge_radius(alpha) / 6)
    subject = Image.fromarray(np.dstack([pixels[rows, columns], 255 * soft]).round().astype(np.uint8), "RGBA")
    left, top, right, bottom = subject.getbbox(alpha_only=True) or (0, 0, *image.size)
    longest = max(right - left, bottom - top)
    side = min(longest + 2 * round(longest * MARGIN_SHARE), max(image.size))
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    red, green, blue = ground.round().astype(int).tolist()
    picture = Image.new("RGB", (side, side), (red, green, blue))
    picture.paste(image, (-_clamp_window(x, side, image.width), -_clamp_window(y, side, image.height)))
    return Cutout(subject.crop((x, y, x + side, y + side)), picture)


def matte(pixels: Array) -> tuple[Array, Array]:
    """Return the share of subject in each pixel, and the colour of the background.

    ``pixels`` is RGB (height x width x 3, 0 to 255). The share is height x width, 0 to 1, and all 0 without a subject on a
    plain background.
    """
    ground, tolerance = _background(pixels)
    if not tolerance:
        return np.zeros(pixels.shape[:2]), ground
    return _alpha(np.linalg.norm(pixels - ground, axis=2), tolerance), ground


def _background(pixels: Array) -> tuple[Array, float]:
    """Return the colour of the border and the tolerance for background.

    The tolerance is an RGB distance, 0 if the border has no single colour.
    """
    frame = max(1, round(min(pixels.shape[:2]) * BORDER_SHARE))
    colours = pixels[_border(pixels, frame)]
    ground = np.median(colours, axis=0)
    distances = np.linalg.norm(colours - ground, axis=1)
    plain = distances[distances < MAX_PLAIN_DISTANCE]
    if len(plain) < MIN_PLAIN_SHARE * len(distances):
        return ground, 0.0
    return ground, float(MIN_TOLERANCE + TOLERANCE_FACTOR * np.median(plain))


def _alpha(distances: Array, tolerance: float) -> Array:
    """Return the share of subject in each pixel, 0 to 1.

    ``distances`` are the RGB distances to the background.

    A flood from the border through all pixels like the background finds the subject. A second flood then erodes the edge of
    the subject. It goes on while a pixel is weaker than the strongest of its neighbours, because such pixels are mixed with
    background.
    """
    from scipy import ndimage

    reach = _edge_radius(distances)
    alike = ndimage.gaussian_filter(distances, reach / 3) < tolerance
    subject = _drop_specks(~ndimage.binary_propagation(_border(distances, 1) & alike, mask=alike))
    strongest = ndimage.maximum_filter(distances * subject, 2 * reach + 1)
    share = ((distances - tolerance) / np.maximum(strongest - tolerance, 1)).clip(0, 1)
    mixed = ndimage.binary_dilation(~subject, EIGHT_NEIGHBOURS, reach) & (share < SOLID_SHARE)
    edge = ndimage.binary_propagation(~subject, EIGHT_NEIGHBOURS, mixed | ~subject)
    return np.where(edge, share * subject, subject)


def _drop_specks(mask: Array) -> Array:
    from scipy import ndimage

    parts, count = ndimage.label(mask, EIGHT_NEIGHBOURS)
    sizes = ndimage.sum_labels(mask, parts, range(count + 1))
    kept: Array = (sizes >= MIN_PART_SHARE * sizes.max())[parts] & mask
    return kept


def _clamp_window(start: int, side: int, length: int) -> int:
    """Move a window of ``side`` pixels into ``length`` pixels, or centre it over them."""
    return min(max(start, 0), length - side) if side <= length else (length - side) // 2


def _border(pixels: Array, width: int) -> Array:
    mask = np.ones(pixels.shape[:2], bool)
    mask[width:-width, width:-width] = False
    return mask


def _edge_radius(pixels: Array) -> int:
    shorter_side: int = min(pixels.shape[:2])
    return max(3, round(shorter_side * EDGE_SHARE))
