"""The scenes of a run: plain pictures and compositions of them.

Compositions teach what captions alone cannot: backgrounds in named colours, recoloured pictures ("blue apple"), two subjects
side by side, and faces with glasses or hats. They are made from the pictures' alpha channels. Some combinations are held out,
to test how the model combines concepts.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image

from diffusion.training.captions import Description, names_of, with_article
from diffusion.training.config import DataConfig
from diffusion.training.drawing import (
    BACKGROUNDS,
    HUES,
    draw_moved,
    draw_on_background,
    draw_pair,
    draw_plain,
    draw_recoloured,
    draw_wearing,
)
from diffusion.training.held_out import ON_BACKGROUND, RECOLOURED, SIDE_BY_SIDE, WEARING
from diffusion.training.pictures import Picture

ACCESSORIES = {
    "sunglasses": "sunglasses",
    "glasses": "glasses",
    "top hat": "a top hat",
    "crown": "a crown",
    "graduation cap": "a graduation cap",
    "billed cap": "a cap",
}
WEARERS = {
    *("fox", "bear", "polar bear", "panda", "lion", "koala", "wolf", "frog", "raccoon", "hamster", "penguin", "baby chick"),
    *("owl", "octopus", "unicorn", "dragon", "dragon face", "robot", "alien", "ghost", "skull", "jack-o-lantern"),
    "pile of poo",
}
COVERED_FACES = (
    *("sunglasses", "cowboy", "party", "disguis", "nerd", "monocle", "hand", "mask", "moon", "sun", "clown", "zzz"),
    *("thermometer", "exploding"),
)
ONE_WAY = ("left", "right", "clock", "arrow", "button", "flag")  # mirrored, their names would be wrong
HELD_OUT = {*RECOLOURED, *WEARING, *SIDE_BY_SIDE, *((name, f"{colour} background") for name, colour in ON_BACKGROUND)}


@dataclass(frozen=True)
class Scene:
    """A training image: how to draw it (128x128 RGB), its description, its weight.

    ``subjects`` are its pictures, ``colour`` their new colour, ``background`` its background.
    """

    description: Description
    weight: float
    draw: Callable[[], Image.Image]
    subjects: tuple[Picture, ...]
    colour: str = ""
    background: str = "white"


def scenes(pictures: list[Picture], config: DataConfig) -> list[Scene]:
    """List the plain and the composed scenes of a run.

    Compositions get a share ``config.synthetic_share`` of the weight.
    """
    rng = random.Random(config.seed)
    chosen = [picture for picture in pictures if is_selected(picture, config)]
    weights = {
        picture: config.style_weights.get(picture.style, 1.0) * config.group_weights.get(picture.group, 1.0)
        for picture in chosen
    }
    plain = list(_plain(weights, rng))
    composed = [
        *_on_backgrounds(weights, config.backgrounds, rng),
        *_recoloured(weights, config.recolours, rng),
        *_paired(weights, config.pairs, rng),
        *_wearing(chosen, config.style_weights, rng),
    ]
    return [*_share(plain, 1 - config.synthetic_share), *_share(composed, config.synthetic_share)]


def is_selected(picture: Picture, config: DataConfig) -> bool:
    """Whether a run with ``config`` learns from ``picture``."""
    return (
        picture.style in config.styles
        and picture.group not in config.without_groups
        and not any(part in picture.name for part in config.without_names)
    )


def _share(group: list[Scene], share: float) -> list[Scene]:
    total = sum(scene.weight for scene in group)
    return [replace(scene, weight=scene.weight / total * share) for scene in group]


def _choose(weights: dict[Picture, float], count: int, rng: random.Random) -> list[Picture]:
    return rng.choices(list(weights), list(weights.values()), k=count) if weights else []


def _plain(weights: dict[Picture, float], rng: random.Random) -> Iterator[Scene]:
    for picture, weight in weights.items():
        about = Description(picture.style, names_of(picture.name, picture.group), picture.keywords)
        yield Scene(about, weight, partial(draw_plain, picture), (picture,))
        mirrored = not any(part in picture.name for part in ONE_WAY)
        scale = rng.uniform(0.86, 0.98)
        x = 64 + rng.uniform(-5, 5)
        y = 64 + rng.uniform(-5, 5)
        yield Scene(about, 0.6 * weight, partial(draw_moved, picture, mirrored, scale, x, y), (picture,))


def _on_backgrounds(weights: dict[Picture, float], count: int, rng: random.Random) -> Iterator[Scene]:
    for picture in _choose(weights, count, rng):
        colour = rng.choice(list(BACKGROUNDS))
        if (picture.name, f"{colour} background") in HELD_OUT:
            continue
        phrases = tuple(
            f"{name}{ending}"
            for name in _with_and_without_article(picture)
            for ending in (f" on a {colour} background", f" on {colour} background", f", {colour} background")
        )
        yield Scene(
            Description(picture.style, (), phrases=phrases),
            1.0,
            partial(draw_on_background, picture, BACKGROUNDS[colour]),
            (picture,),
            background=colour,
        )


def _recoloured(weights: dict[Picture, float], count: int, rng: random.Random) -> Iterator[Scene]:
    colours = {*BACKGROUNDS, "white"}
    able = {
        picture: weight
        for picture, weight in weights.items()
        if picture.group != "Smileys & Emotion"
        and (not colours & set(picture.name.split()) or picture.name in ("red apple", "green apple"))
    }
    for picture in _choose(able, count, rng):
        colour = rng.choice(list(HUES))
        thing = without_colour(picture.name)
        if (thing, colour) in HELD_OUT:
            continue
        phrases = (f"{colour} {thing}", f"a{'n' if colour == 'orange' else ''} {colour} {thing}")
        draw = partial(draw_recoloured, picture, HUES[colour])
        yield Scene(Description(picture.style, (), phrases=phrases), 0.75, draw, (picture,), colour)


def _paired(weights: dict[Picture, float], count: int, rng: random.Random) -> Iterator[Scene]:
    by_style: dict[str, dict[Picture, float]] = {}
    for picture, weight in weights.items():
        by_style.setdefault(picture.style, {})[picture] = weight
    for left in _choose(weights, count, rng):
        (right,) = _choose(by_style[left.style], 1, rng)
        if left is right:
            continue
        a = left.name
        b = right.name
        if (a, b) in HELD_OUT or (b, a) in HELD_OUT:
            continue
        phrases = (
            f"{a} and {b}",
            f"{with_article(a)} and {with_article(b)}",
            f"{with_article(a)} next to {with_article(b)}",
        )
        yield Scene(Description(left.style, (), phrases=phrases), 0.9, partial(draw_pair, left, right), (left, right))


def _wearing(pictures: list[Picture], style_weights: dict[str, float], rng: random.Random) -> Iterator[Scene]:
    found = {(picture.style, picture.name): picture for picture in pictures}
    for picture in pictures:
        if not _has_free_face(picture):
            continue
        every = picture.group != "Smileys & Emotion" or "cat" in picture.name
        for name, worn in rng.sample(list(ACCESSORIES.items()), 5 if every else 2):
            accessory = found.get((picture.style, name))
            if accessory is None or (picture.name, name) in HELD_OUT:
                continue
            phrases = tuple(
                f"{subject} {verb} {worn}" for subject in _with_and_without_article(picture) for verb in ("wearing", "with")
            )
            draw = partial(draw_wearing, picture, accessory)
            weight = 4 * style_weights.get(picture.style, 1.0)
            yield Scene(Description(picture.style, (), phrases=phrases), weight, draw, (picture, accessory))


def _has_free_face(picture: Picture) -> bool:
    if any(part in picture.name for part in COVERED_FACES):
        return False
    if picture.group == "Smileys & Emotion":
        return "face" in picture.name or "cat" in picture.name
    return picture.name in WEARERS or (picture.group == "Animals & Nature" and picture.name.endswith(" face"))


def _with_and_without_article(picture: Picture) -> tuple[str, ...]:
    names = names_of(picture.name, picture.group)
    return (*names, *(with_article(name) for name in names))


def without_colour(name: str) -> str:
    """Return ``name`` without its colour: "apple" for "red apple"."""
    return name.removeprefix("red ").removeprefix("green ")
