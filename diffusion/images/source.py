"""The picture and mask that a request starts from, in the size in which they are drawn."""

from collections.abc import Sequence

from PIL import Image

from diffusion.images.io import fit, halves, hstack
from diffusion.images.masks import fit_mask
from diffusion.request import EDITED_GRID, ImageRequest


def fit_source(request: ImageRequest) -> ImageRequest:
    """Return ``request`` with its picture and mask scaled and cropped to the size in which the model takes them.

    A waiting request then holds no more pixels than it needs.
    """
    size = request.source_size
    if request.image is None or size is None or request.image.size == size:
        return request
    if request.is_edit:
        return request.replace(image=_shrink(request.image, size))
    if request.morph_to:
        return request.replace(image=hstack([fit(half, request.width, request.height) for half in halves(request.image)]))
    if request.blend:
        return request.replace(image=side_by_side(blended_pictures(request), request.width, request.height))
    mask = fit_mask(request.mask, *size) if request.mask else None
    return request.replace(image=fit(request.image, *size), mask=mask)


def side_by_side(pictures: Sequence[Image.Image], width: int, height: int) -> Image.Image:
    """Return ``pictures`` beside each other for a request that blends them, each scaled and cropped to that size."""
    return hstack([fit(picture, width, height) for picture in pictures])


def blended_pictures(request: ImageRequest) -> list[Image.Image]:
    """Return the pictures that ``request`` blends, from left to right."""
    if request.image is None:
        return []
    width = request.image.width // len(request.blend)
    lefts = range(0, width * len(request.blend), width)
    return [request.image.crop((left, 0, left + width, request.image.height)) for left in lefts]


def _shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the middle of ``image``, which is scaled only if it is much larger or smaller than ``size``."""
    if any(not side <= own < side + EDITED_GRID for own, side in zip(image.size, size, strict=True)):
        return fit(image, *size)
    left, top = ((own - side) // 2 for own, side in zip(image.size, size, strict=True))
    return image.crop((left, top, left + size[0], top + size[1]))
