"""Captions: texts that people might type, a new wording for each draw."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

STYLE_PHRASES = {
    "fluent3d": ("3d", "3d render", "3d emoji"),
    "fluentflat": ("flat", "flat design"),
    "noto": ("noto style", "noto emoji"),
    "twemoji": ("twemoji", "twemoji style"),
    "fxemoji": ("simple drawing",),
    "flaticons": ("flat icon", "app icon"),
}


@dataclass(frozen=True)
class Description:
    """The facts about a training picture: ready ``phrases``, or names and keywords."""

    style: str
    names: tuple[str, ...]
    keywords: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()


def with_article(noun: str) -> str:
    """Put "a" or "an" before ``noun``."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def names_of(name: str, group: str) -> tuple[str, ...]:
    """Return the common names for a Unicode name: "fox", "fox head" for "fox face"."""
    if name.startswith("flag "):
        return (name, name.replace("flag ", "flag of ", 1))
    if name.endswith(" face") and group == "Animals & Nature":
        animal = name.removesuffix(" face")
        return (name, animal, f"{animal} head")
    return (name,)


def caption(description: Description, rng: random.Random) -> str:
    """Draw one caption: name or keywords, with or without article and style."""
    if description.phrases:
        text = rng.choice(description.phrases)
    else:
        text = _by_name_or_keywords(description, rng)
    # The 3D set is the default style, so its captions often name none.
    if rng.random() < (0.35 if description.style == "fluent3d" else 0.95):
        return f"{text}, {rng.choice(STYLE_PHRASES[description.style])}"
    if rng.random() < 0.15:
        return f"{text} {rng.choice(('emoji', 'sticker'))}"
    return text


def _by_name_or_keywords(description: Description, rng: random.Random) -> str:
    name = rng.choice(description.names)
    keywords = [word for word in description.keywords if len(word) > 2]
    form = rng.random()
    if form < 0.35 or not keywords:
        return name
    if form < 0.6:
        return with_article(name)
    some = ", ".join(rng.sample(keywords, rng.randint(1, min(3, len(keywords)))))
    if form < 0.85:
        return f"{name}, {some}"
    return some if rng.random() < 0.6 else f"emoji of {with_article(name)}"


def captions(descriptions: Sequence[Description], dropout: float, rng: random.Random) -> list[str]:
    """Draw one caption per description.

    A share ``dropout`` of them becomes "", which trains the unconditional prediction.
    """
    return ["" if rng.random() < dropout else caption(description, rng) for description in descriptions]
