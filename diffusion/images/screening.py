"""Images as a safety check reads them. Without torch, for the bot."""

from typing import Final

from PIL import Image

SCREENED_AT_ONCE: Final = 8  # images
SCREENED_SIDE: Final = 1024  # pixels; safety networks read about 224


def shrink_for_screening(image: Image.Image) -> Image.Image:
    """Return ``image`` shrunk to sides of at most `SCREENED_SIDE` pixels."""
    if max(image.size) <= SCREENED_SIDE:
        return image
    image = image.copy()
    image.thumbnail((SCREENED_SIDE, SCREENED_SIDE))
    return image
