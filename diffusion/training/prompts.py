"""The prompts of an evaluation and what their pictures should show."""

import random
from dataclasses import dataclass

from PIL import Image

from diffusion.training.config import DataConfig
from diffusion.training.drawing import (
    BACKGROUNDS,
    HUES,
    draw_on_background,
    draw_pair,
    draw_plain,
    draw_recoloured,
    draw_wearing,
)
from diffusion.training.held_out import ON_BACKGROUND, RECOLOURED, SIDE_BY_SIDE, WEARING
from diffusion.training.pictures import Picture
from diffusion.training.scenes import ACCESSORIES, is_selected, without_colour

SEEN_SHEET = (
    "red apple, 3d",
    "fox, 3d",
    "smiling face with sunglasses, 3d",
    "grinning cat, 3d",
    "pizza, 3d",
    "panda, 3d",
    "rocket, 3d",
    "red heart",
    "sunflower, 3d",
    "ghost, 3d",
    "hamburger, 3d",
    "penguin, 3d",
)
UNSEEN_SHEET = (  # see held_out
    "grinning cat wearing sunglasses, 3d",
    "fox wearing a top hat, 3d",
    "blue apple, 3d",
    "purple banana, 3d",
    "panda on a pink background, 3d",
    "dragon and star",
    "penguin wearing glasses",
    "robot wearing a crown, 3d",
    "yellow car, 3d",
    "bear wearing a graduation cap",
    "dog face and pizza, 3d",
    "a cute puppy sticker",
)


@dataclass(frozen=True)
class EvaluationPrompt:
    """A prompt and its expected subjects, colour and background."""

    prompt: str
    subjects: tuple[str, ...]
    colour: str = ""
    background: str = ""

    @property
    def kind(self) -> str:
        """The attribute to get right: "colour", "background", "second subject" or ""."""
        if self.colour:
            return "colour"
        if self.background:
            return "background"
        return "second subject" if len(self.subjects) > 1 else ""


def seen_prompts(pictures: list[Picture], config: DataConfig, count: int) -> list[EvaluationPrompt]:
    """Draw ``count`` names that a run with ``config`` trains on, repeatably."""
    names = sorted({picture.name for picture in pictures if is_selected(picture, config)})
    return [EvaluationPrompt(name, (name,)) for name in random.Random(0).sample(names, min(count, len(names)))]


def unseen_prompts() -> list[EvaluationPrompt]:
    """List prompts for the held-out compositions."""
    return [
        *(EvaluationPrompt(f"{colour} {name}", (name,), colour=colour) for name, colour in RECOLOURED),
        *(EvaluationPrompt(f"{name} wearing {ACCESSORIES[worn]}", (name, worn)) for name, worn in WEARING),
        *(EvaluationPrompt(f"{name} on a {colour} background", (name,), background=colour) for name, colour in ON_BACKGROUND),
        *(EvaluationPrompt(f"{left} and {right}", (left, right)) for left, right in SIDE_BY_SIDE),
    ]


def draw_prompt(shown: EvaluationPrompt, pictures: list[Picture]) -> Image.Image:
    """Draw the real picture of ``shown`` from ``pictures``, as scenes are drawn.

    Raises ``KeyError`` if a subject is missing.
    """
    by_name = {picture.name: picture for picture in reversed(pictures)}
    found = {without_colour(name): picture for name, picture in by_name.items()} | by_name
    first, *others = (found[name] for name in shown.subjects)
    if shown.colour:
        return draw_recoloured(first, HUES[shown.colour])
    if shown.background:
        return draw_on_background(first, BACKGROUNDS[shown.background])
    if others:
        return (draw_wearing if others[0].name in ACCESSORIES else draw_pair)(first, others[0])
    return draw_plain(first)
