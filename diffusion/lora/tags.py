"""LoRAs as members write them: ``<lora:name:0.8>`` in a prompt, or ``name:0.8, other`` in a list."""

import re
from collections.abc import Iterable
from typing import Final

from diffusion.errors import InvalidRequestError, Problems

Loras = tuple[tuple[str, float], ...]  # names and weights

# The bounds keep a search linear in the text.
TAG: Final = re.compile(r"<lora:([^<>:]{1,120})(?::([^<>]{0,40}))?>", re.IGNORECASE)
TAG_START: Final = re.compile(r"<lora:", re.IGNORECASE)
DEFAULT_WEIGHT: Final = 1.0


def take_tags(text: str) -> tuple[str, Loras]:
    """Split ``text`` into the text without its tags, and their LoRAs.

    Of equal names the last counts. Raises `InvalidRequestError` for a tag that cannot be read.
    """
    if not TAG_START.search(text):
        return text, ()
    problems = Problems()
    loras: Loras = ()
    for tag in TAG.finditer(text):
        with problems.collect():
            loras = join_loras(loras, ((tag[1].strip(), _parse_weight(tag[2])),))
    kept = _without_tags(text)
    with problems.collect():
        if TAG_START.search(kept):
            raise InvalidRequestError("loras", "I cannot read a LoRA in the prompt. Write it as `<lora:name:0.8>`.")
    problems.report()
    return kept, loras


def find_tags(text: str) -> tuple[str, Loras]:
    """Split ``text`` as `take_tags` does, but leave a tag that cannot be read where it is."""
    try:
        return take_tags(text)
    except InvalidRequestError:
        return text, ()


def _without_tags(text: str) -> str:
    return re.sub(r" ?,(?: ?,)+", ",", " ".join(TAG.sub(" ", text).split())).strip(", ")


def parse_list(text: str) -> Loras:
    """Parse a list such as ``name:0.8, other``; a tag may stand for an item.

    Raises `InvalidRequestError` for a weight that is no number.
    """
    loras: Loras = ()
    problems = Problems()
    for item in filter(None, map(str.strip, text.split(","))):
        tag = TAG.fullmatch(item)
        name, _, weight = (tag[1], "", tag[2]) if tag else item.partition(":")
        with problems.collect():
            loras = join_loras(loras, ((name.strip(), _parse_weight(weight)),))
    problems.report()
    return loras


def format_tags(loras: Iterable[tuple[str, float]]) -> str:
    """Return the tags of ``loras``, with spaces between them."""
    return " ".join(f"<lora:{name}:{weight:g}>" for name, weight in loras)


def format_list(loras: Iterable[tuple[str, float]]) -> str:
    """Return ``loras`` as a list that `parse_list` reads."""
    return ", ".join(f"{name}:{weight:g}" for name, weight in loras)


def join_loras(*groups: Iterable[tuple[str, float]]) -> Loras:
    """Join ``groups``; of equal names the last counts."""
    return tuple({name: weight for group in groups for name, weight in group}.items())


def _parse_weight(text: str | None) -> float:
    if not text or not text.strip():
        return DEFAULT_WEIGHT
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise InvalidRequestError(
            "loras", "The weight {weight} of a LoRA is no number. Write it as `<lora:name:0.8>`.", weight=repr(text.strip())
        ) from None
