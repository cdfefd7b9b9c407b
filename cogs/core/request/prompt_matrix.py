r"""Prompts that stand for several: ``{red|blue} fox`` is a red fox and a blue fox. Pure.

Braces may hold braces. ``\{``, ``\|`` and ``\}`` stand for themselves, and so do braces without a bar or their other half.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any, Final

from diffusion.errors import InvalidRequestError
from diffusion.request import ImageRequest
from diffusion.text import plural

MOST: Final = 10  # as many files as a message of Discord's holds
SPECIAL: Final = re.compile(r"\\[{|}]|[{|}]")


def permutations(prompt: str) -> tuple[str, ...]:
    """Give all prompts that ``prompt`` stands for, just itself for most; raises `InvalidRequestError` for more than `MOST`."""
    found = tuple(itertools.islice(_expand(prompt, 0), MOST + 1))
    if len(found) > MOST:
        raise InvalidRequestError(
            "prompt",
            plural(
                "This makes more than {most} picture, which is all that one message holds.",
                "This makes more than {most} pictures, which is all that one message holds.",
                by="most",
            ),
            most=MOST,
        )
    return tuple(" ".join(text.split()) for text in found)


def prompted(text: str, each: int = 1) -> dict[str, Any]:
    """Give what an `ImageRequest` of ``each`` pictures of every prompt of ``text`` needs; raises `InvalidRequestError`."""
    prompts = permutations(text)
    if len(prompts) == 1:
        return {"prompt": prompts[0], "variants": (), "count": each}
    pictures = len(prompts) * each
    if pictures > MOST:
        raise InvalidRequestError(
            "count",
            plural(
                "This makes {count} picture, and one message holds {most}.",
                "This makes {count} pictures, and one message holds {most}.",
            ),
            count=pictures,
            most=MOST,
        )
    return {"prompt": text, "variants": prompts, "count": pictures}


def written(request: ImageRequest) -> str:
    """Give the text that `prompted` makes the prompts of ``request`` of."""
    plain = "\\" not in request.prompt and _first_choice(request.prompt, 0) is None
    return request.prompt if request.variants or plain else literal(request.prompt)


def literal(text: str) -> str:
    """Write ``text`` so that it stands for nothing but itself."""
    return re.sub(r"[{|}]", r"\\\g<0>", text) if SPECIAL.search(text) else text


def _expand(text: str, start: int) -> Iterator[str]:
    """Put each alternative of the first choice after ``start`` in its place, then go on behind what comes before it."""
    choice = _first_choice(text, start)
    if choice is None:
        yield SPECIAL.sub(lambda found: found[0][-1], text)
        return
    *bars, end = choice
    for before, after in itertools.pairwise([*bars, end]):
        alternative = text[before + 1 : after]
        yield from _expand(text[: bars[0]] + alternative + text[end + 1 :], bars[0])


def _first_choice(text: str, start: int) -> list[int] | None:
    """Find where the first choice that is in no other one begins, where its bars are and where it ends."""
    open_ones: list[list[int]] = []
    first: list[int] | None = None
    for found in SPECIAL.finditer(text, start):
        if found[0] == "{":
            open_ones.append([found.start()])
        elif found[0] == "|" and open_ones:
            open_ones[-1].append(found.start())
        elif found[0] == "}" and open_ones:
            closed = open_ones.pop()
            if len(closed) > 1 and (first is None or closed[0] < first[0]):
                first = [*closed, found.start()]
    return first
