"""The picture and mask that a request starts from, in the size in which they are drawn."""

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
    mask = fit_mask(request.mask, *size) if request.mask else None
    return request.replace(image=fit(request.image, *size), mask=mask)


def _shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the middle of ``image``, which is scaled only if it is much larger or smaller than ``size``."""
    if any(not side <= own < side + EDITED_GRID for own, side in zip(image.size, size, strict=True)):
        return fit(image, *size)
    left, top = ((own - side) // 2 for own, side in zip(image.size, size, strict=True))
    return image.crop((left, top, left + size[0], top + size[1]))
