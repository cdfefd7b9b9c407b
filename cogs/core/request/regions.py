"""Regions of a picture: names such as "left", or numbers in percent."""

import re
from typing import Final

from diffusion.errors import InvalidRequestError

Region = tuple[float, float, float, float]  # left, top, right, bottom as shares of the picture

REGIONS: Final[dict[str, Region]] = {
    "left": (0, 0, 0.5, 1),
    "right": (0.5, 0, 1, 1),
    "top": (0, 0, 1, 0.5),
    "bottom": (0, 0.5, 1, 1),
    "middle": (0.25, 0.25, 0.75, 0.75),
}
REGION: Final = re.compile(r" ?[, ] ?".join([r"(\d{1,3}(?:\.\d{1,3})?) ?%?"] * 4), re.ASCII)
EXAMPLE: Final = "25,0,50,40"


def parse_region(text: str) -> Region:
    """Parse a region.

    Raises `InvalidRequestError` if the text is no region or not inside the picture.
    """
    if named := REGIONS.get(text.strip().lower()):
        return named
    match = REGION.fullmatch(" ".join(text.split()))  # so that any number of spaces takes linear time
    if match is None:
        raise InvalidRequestError(
            "region",
            "The region must be {names} or x,y,width,height in percent, such as {example}.",
            names=", ".join(REGIONS),
            example=EXAMPLE,
        )
    left, top, width, height = (float(number) / 100 for number in match.groups())
    if min(width, height) == 0 or left + width > 1 or top + height > 1:
        raise InvalidRequestError(
            "region",
            "The region must lie inside the picture: {names} or x,y,width,height in percent, such as {example}.",
            names=", ".join(REGIONS),
            example=EXAMPLE,
        )
    return left, top, left + width, top + height


def pixel_box(region: Region, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box of ``region`` in a picture of ``size``.

    It is at least one pixel wide and high.
    """
    width, height = size
    left = min(int(region[0] * width), width - 1)
    top = min(int(region[1] * height), height - 1)
    return left, top, max(round(region[2] * width), left + 1), max(round(region[3] * height), top + 1)
