"""The classifier's labels of a scene: its group and its main colour."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from diffusion.training.pictures import Picture

PLANTS = {"plant", "flower", "tree", "leaf"}
VEHICLES = {"vehicle", "transportation"}
GROUPS = ("animal", "plant", "food", "face", "heart", "vehicle", "place", "activity", "object")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "grey", "white")
HUE_NAMES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "red")
HUE_EDGES = (14, 35, 66, 165, 255, 292, 336)  # degrees between neighbours of `HUE_NAMES`
GROUND_TOLERANCE = 10  # of 255, to the colour of the corner


@dataclass(frozen=True)
class Labels:
    """The labels of a scene and the names of its subjects.

    ``group`` is empty if the subjects belong to several groups or to none of `GROUPS`.
    """

    subjects: tuple[str, ...]
    group: str
    colour: str


def labels_of(subjects: Sequence[Picture], image: Image.Image) -> Labels:
    """Label a scene with ``subjects`` that is drawn as ``image``."""
    groups = {group_of(picture) for picture in subjects}
    return Labels(tuple(picture.name for picture in subjects), groups.pop() if len(groups) == 1 else "", main_colour(image))


def group_of(picture: Picture) -> str:
    """Return the group of ``picture`` in `GROUPS`, or an empty text.

    It follows from the Unicode group, the name and the keywords.
    """
    words = {*picture.name.split(), *picture.keywords}
    match picture.group:
        case "Animals & Nature":
            return "plant" if words & PLANTS and "animal" not in words else "animal"
        case "Food & Drink":
            return "food"
        case "Smileys & Emotion":
            return "face" if "face" in words else "heart" if "heart" in picture.name else ""
        case "Travel & Places":
            return "vehicle" if words & VEHICLES else "place"
        case "Activities":
            return "activity"
        case "Objects":
            return "object"
    return ""


def main_colour(image: Image.Image) -> str:
    """Return the colour in `COLOURS` of most pixels of the subject.

    The subject of an RGB image is everything but the plain background that reaches its border.
    """
    names = colour_names(image)
    counted = np.bincount(names[subject_mask(image)], minlength=len(COLOURS))
    return COLOURS[counted.argmax()]


def subject_mask(image: Image.Image) -> NDArray[np.bool_]:
    """Mark the subject with True: (height, width).

    If the whole image is background, everything is marked.
    """
    pixels = np.asarray(image.convert("RGB")).astype(int)
    like_corner = np.abs(pixels - pixels[0, 0]).max(-1) <= GROUND_TOLERANCE
    areas, _ = ndimage.label(like_corner)
    border = {*areas[0], *areas[-1], *areas[:, 0], *areas[:, -1]} - {0}
    ground = np.isin(areas, list(border))
    return ~ground if not ground.all() else ground


def colour_names(image: Image.Image) -> NDArray[np.int_]:
    """Return for every pixel the index of its colour in `COLOURS`: (height, width)."""
    hue, saturation, value = np.moveaxis(np.asarray(image.convert("RGB").convert("HSV")).astype(float), -1, 0) / 255
    chroma = saturation * value
    named = np.array([COLOURS.index(name) for name in HUE_NAMES])[np.digitize(hue * 360, HUE_EDGES)]
    red, orange, yellow = (named == COLOURS.index(name) for name in ("red", "orange", "yellow"))
    named[(orange | (yellow & (value < 0.5)) | (red & (saturation < 0.6))) & (value < 0.68)] = COLOURS.index("brown")
    named[red & (saturation < 0.55) & (value >= 0.68)] = COLOURS.index("pink")
    greys = np.array([COLOURS.index(name) for name in ("black", "grey", "white")])[np.digitize(value, (0.36, 0.86))]
    indices: NDArray[np.int_] = np.where((chroma < 0.13) | ((value < 0.36) & (chroma < 0.18)), greys, named)
    return indices
