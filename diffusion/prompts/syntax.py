r"""Weights and breaks in prompts, as A1111 writes them.

``(word)`` counts 1.1 times, ``[word]`` 1.1 times less, ``(word:1.3)`` 1.3 times; brackets may contain brackets. ``BREAK``
begins a new chunk. ``\(`` and the like stand for themselves, and so do brackets without a partner.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

FACTOR: Final = 1.1
MAX_WEIGHT: Final = 10.0
SPECIAL: Final = re.compile(r"\\[\\()\[\]]|[()\[\]]")
# A number behind other digits and without a point is no weight: "(4:3)", "(at 10:30)".
WEIGHT: Final = re.compile(r"(?<!\d):\s{0,3}\d\s{0,3}$|:\s{0,3}(?:\d\.\d{0,4}|\.\d{1,4})\s{0,3}$")
LONGEST_WEIGHT: Final = 14  # characters
BREAK: Final = re.compile(r"(?<!\w)BREAK(?!\w)")
SYNTAX: Final = re.compile(f"{SPECIAL.pattern}|{BREAK.pattern}")  # what a prompt has that is more than one part
PARTNERS: Final = {")": "(", "]": "["}


@dataclass(frozen=True)
class Part:
    """A text whose words have one weight. It begins a new chunk if it ``breaks``."""

    text: str
    weight: float = 1.0
    breaks: bool = False


def parse(prompt: str) -> list[Part]:
    """Return the parts of ``prompt`` in order, in time linear in its length.

    A prompt without any of this syntax is one part, unchanged.
    """
    if not SPECIAL.search(prompt):
        return list(_split(prompt, 1.0)) or [Part(prompt)]
    marks = list(SPECIAL.finditer(prompt))
    factors, numbers = _match_brackets(prompt, marks)
    parts: list[Part] = []
    weights = [1.0]
    texts: list[str] = []
    start = 0

    def flush() -> None:
        text = "".join(texts)
        texts.clear()
        if text:
            parts.extend(_split(text, min(weights[-1], MAX_WEIGHT)))

    for index, mark in enumerate(marks):
        texts.append(prompt[start : numbers.get(index, mark.start())])
        start = mark.end()
        if index not in factors:  # a bracket that stands for itself
            texts.append(mark[0][-1])
            continue
        flush()
        if mark[0] in PARTNERS:
            weights.pop()
        else:
            weights.append(min(weights[-1] * factors[index], MAX_WEIGHT))
    texts.append(prompt[start:])
    flush()
    return parts or [Part("")]


def _match_brackets(prompt: str, marks: list[re.Match[str]]) -> tuple[dict[int, float], dict[int, int]]:
    """Return the factor of each bracket that has a partner, and where the weights before closing ones begin.

    The keys are indices in ``marks``.
    """
    factors: dict[int, float] = {}
    numbers: dict[int, int] = {}
    still_open: list[int] = []
    for index, mark in enumerate(marks):
        if mark[0] in ("(", "["):
            still_open.append(index)
        elif mark[0] in PARTNERS and still_open and marks[still_open[-1]][0] == PARTNERS[mark[0]]:
            opening = still_open.pop()
            factor = FACTOR if mark[0] == ")" else 1 / FACTOR
            first = max(marks[index - 1].end(), mark.start() - LONGEST_WEIGHT)
            number = WEIGHT.search(prompt, first, mark.start()) if mark[0] == ")" else None
            if number and (number.start() > first or marks[index - 1][0] not in ("(", "[")):
                factor = float(number[0].lstrip(":"))
                numbers[index] = number.start()
            factors[opening] = factors[index] = factor
    return factors, numbers


def _split(text: str, weight: float) -> Iterator[Part]:
    """Yield the parts of ``text`` between the words BREAK."""
    for number, piece in enumerate(BREAK.split(text)):
        if number or piece:
            yield Part(piece, weight, breaks=number > 0)
