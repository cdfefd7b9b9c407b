"""The picture and mask that a request starts from, in the size in which they are drawn."""

from diffusion.images.io import fit
from diffusion.images.masks import fit_mask
from diffusion.request import ImageRequest


def fit_source(request: ImageRequest) -> ImageRequest:
    """Return ``request`` with its picture and mask scaled and cropped to its size.

    A waiting request then holds no more pixels than it needs.
    """
    size = request.width, request.height
    if request.image is None or request.image.size == size:
        return request
    mask = fit_mask(request.mask, *size) if request.mask else None
    return request.replace(image=fit(request.image, *size), mask=mask)
