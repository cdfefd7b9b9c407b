r"""Prompts with alternatives: ``{red|blue} fox`` is a red and a blue fox.

Braces may contain braces. ``\{``, ``\|`` and ``\}`` stand for themselves. So does a brace without a bar or without its partner.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any, Final

from diffusion.errors import InvalidRequestError
from diffusion.request import ImageRequest
from diffusion.text import plural

MAX_FILES: Final = 10  # Discord's limit on a message
SPECIAL: Final = re.compile(r"\\[{|}]|[{|}]")


def expand(prompt: str) -> tuple[str, ...]:
    """Return the prompts that ``prompt`` stands for, mostly itself.

    Raises `InvalidRequestError` above `MAX_FILES`.
    """
    if not SPECIAL.search(prompt):
        return (prompt,)
    variants = tuple(itertools.islice(_expand(prompt, 0), MAX_FILES + 1))
    if len(variants) > MAX_FILES:
        raise InvalidRequestError(
            "prompt",
            plural(
                "This makes more than {most} picture, the most that fit in one message.",
                "This makes more than {most} pictures, the most that fit in one message.",
                by="most",
            ),
            most=MAX_FILES,
        )
    return tuple(" ".join(text.split()) for text in variants)


def prompt_fields(text: str, variants: tuple[str, ...], each: int) -> dict[str, Any]:
    """Return the fields of an `ImageRequest` for ``each`` pictures of a variant.

    Raises `InvalidRequestError` if the pictures of all variants do not fit in one message.
    """
    if len(variants) == 1:
        return {"prompt": variants[0], "variants": (), "count": each}
    pictures = len(variants) * each
    if pictures > MAX_FILES:
        raise InvalidRequestError(
            "count",
            plural(
                "This makes {count} picture, and at most {most} fit in one message.",
                "This makes {count} pictures, and at most {most} fit in one message.",
            ),
            count=pictures,
            most=MAX_FILES,
        )
    return {"prompt": text, "variants": variants, "count": pictures}


def prompt_source(request: ImageRequest) -> str:
    """Return the text that expands to the prompts of ``request``."""
    plain = "\\" not in request.prompt and _first_choice(request.prompt, 0) is None
    return request.prompt if request.variants or plain else escape(request.prompt)


def escape(text: str) -> str:
    """Return ``text`` with its braces and bars escaped, so that it stands for itself."""
    return re.sub(r"[{|}]", r"\\\g<0>", text) if SPECIAL.search(text) else text


def _expand(text: str, start: int) -> Iterator[str]:
    """Replace the first choice after ``start`` by each of its alternatives.

    Also expands the text behind it.
    """
    choice = _first_choice(text, start)
    if choice is None:
        yield SPECIAL.sub(lambda found: found[0][-1], text)
        return
    *bars, end = choice
    for before, after in itertools.pairwise([*bars, end]):
        alternative = text[before + 1 : after]
        yield from _expand(text[: bars[0]] + alternative + text[end + 1 :], bars[0])


def _first_choice(text: str, start: int) -> list[int] | None:
    """Return the positions of the braces and bars of the first outermost choice.

    Returns None if there is none.
    """
    open_choices: list[list[int]] = []
    first: list[int] | None = None
    for found in SPECIAL.finditer(text, start):
        if found[0] == "{":
            open_choices.append([found.start()])
        elif found[0] == "|" and open_choices:
            open_choices[-1].append(found.start())
        elif found[0] == "}" and open_choices:
            closed = open_choices.pop()
            if len(closed) > 1 and (first is None or closed[0] < first[0]):
                first = [*closed, found.start()]
    return first
