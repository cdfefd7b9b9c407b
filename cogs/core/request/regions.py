"""Regions of a picture: names such as "left", or numbers in percent."""

import re
from typing import Final

from diffusion.errors import InvalidRequestError
from diffusion.text import N_

Range = tuple[float, float]
Region = tuple[float, float, float, float]  # left, top, right, bottom as shares of the picture

REGIONS: Final[dict[str, Region]] = {
    "left": (0, 0, 0.5, 1),
    "right": (0.5, 0, 1, 1),
    "top": (0, 0, 1, 0.5),
    "bottom": (0, 0.5, 1, 1),
    "middle": (0.25, 0.25, 0.75, 0.75),
}
FIRST: Final = (0.0, 1 / 3)
SECOND: Final = (1 / 3, 2 / 3)
LAST: Final = (2 / 3, 1.0)
ALL: Final = (0.0, 1.0)
# The parts that a list offers, by the values of their options: a name, and the range of the width and of the height.
PARTS: Final[dict[str, tuple[str, Range, Range]]] = {
    "top_left": (N_("Top left"), FIRST, FIRST),
    "top_middle": (N_("Top middle"), SECOND, FIRST),
    "top_right": (N_("Top right"), LAST, FIRST),
    "middle_left": (N_("Middle left"), FIRST, SECOND),
    "middle_middle": (N_("Middle"), SECOND, SECOND),
    "middle_right": (N_("Middle right"), LAST, SECOND),
    "bottom_left": (N_("Bottom left"), FIRST, LAST),
    "bottom_middle": (N_("Bottom middle"), SECOND, LAST),
    "bottom_right": (N_("Bottom right"), LAST, LAST),
    "top_row": (N_("Top row"), ALL, FIRST),
    "middle_row": (N_("Middle row"), ALL, SECOND),
    "bottom_row": (N_("Bottom row"), ALL, LAST),
    "left_column": (N_("Left column"), FIRST, ALL),
    "middle_column": (N_("Middle column"), SECOND, ALL),
    "right_column": (N_("Right column"), LAST, ALL),
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


def region_of(part: str) -> Region:
    """Return the region of one of `PARTS`."""
    _, (left, right), (top, bottom) = PARTS[part]
    return left, top, right, bottom


def pixel_box(region: Region, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box of ``region`` in a picture of ``size``.

    It is at least one pixel wide and high.
    """
    width, height = size
    left = min(int(region[0] * width), width - 1)
    top = min(int(region[1] * height), height - 1)
    return left, top, max(round(region[2] * width), left + 1), max(round(region[3] * height), top + 1)
