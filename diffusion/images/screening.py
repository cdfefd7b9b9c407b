"""The form in which images reach a safety check. Without torch: the bot sends such images to the replicas."""

from typing import Final

from PIL import Image

SCREENED_AT_ONCE: Final = 8  # images
SCREENED_SIDE: Final = 1024  # pixels; safety networks read about 224


def shrink_for_screening(image: Image.Image) -> Image.Image:
    """Return ``image`` with sides of at most `SCREENED_SIDE` pixels, in its own proportions."""
    if max(image.size) <= SCREENED_SIDE:
        return image
    image = image.copy()
    image.thumbnail((SCREENED_SIDE, SCREENED_SIDE))
    return image
