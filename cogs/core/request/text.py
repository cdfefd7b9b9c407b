"""Text that members type, made safe to show and to draw."""

import unicodedata
from typing import Final

from diffusion.errors import InvalidRequestError
from diffusion.text import plural

PROMPT_LIMIT: Final = 1000
STYLE_LIMIT: Final = 100
MAX_COMBINING_MARKS: Final = 3  # a letter of any language carries no more


def clean(text: str) -> str:
    """Return ``text`` without what shows nothing or breaks the lines around it.

    That is control and zero-width characters, lone surrogates, and combining marks beyond those of real letters.
    """
    kept: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category == "Cc":
            kept.append(" ")
        elif category not in ("Cf", "Cs", "Co", "Cn") and marks <= MAX_COMBINING_MARKS:
            kept.append(character)
    return " ".join("".join(kept).split())


def validate_prompt(text: str) -> str:
    """Return ``text``; raises `InvalidRequestError` if it is longer than a prompt may be."""
    if len(text) > PROMPT_LIMIT:
        raise InvalidRequestError(
            "prompt",
            plural(
                "The prompt and its style may have {limit} character together. Please shorten them.",
                "The prompt and its style may have {limit} characters together. Please shorten them.",
                by="limit",
            ),
            limit=PROMPT_LIMIT,
        )
    return text
