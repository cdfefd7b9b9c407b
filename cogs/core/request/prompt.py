"""Prompts as members write them, parsed once: text, flags and variants."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cogs.core.request.flags import STYLE_LIMIT, parse_flags, unknown_flags_note
from cogs.core.request.prompt_matrix import expand
from cogs.core.request.syntax_notes import PLAIN_NOTES, syntax_notes
from diffusion.errors import InvalidRequestError, Problems
from diffusion.lora.tags import Loras, take_tags
from diffusion.text import Text, plural

__all__ = ["PROMPT_LIMIT", "STYLE_LIMIT", "ParsedPrompt", "clean", "parse_prompt", "validate_prompt"]

PROMPT_LIMIT: Final = 1000
MAX_COMBINING_MARKS: Final = 3  # a letter of any language carries no more
CUSTOM_EMOJI: Final = re.compile(r"<a?:(\w{1,32}):\d{1,20}>", re.ASCII)
JOINERS: Final = "\u200c\u200d"  # within words of many languages, and within emojis
FLAG_LETTERS: Final = range(0xE0020, 0xE0080)  # behind a black flag: the flags of England, Scotland and Wales
BLACK_FLAG: Final = "\U0001f3f4"
# Characters without a meaning yet. Python's tables are older than many emojis, so others of category Cn stay.
IGNORABLE: Final = (range(0x2060, 0x2070), range(0xFDD0, 0xFDF0), range(0xFFF0, 0xFFF9), range(0xE0000, 0xE1000))


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt without its flags.

    ``variants`` are the prompts that ``text`` stands for: several if it has alternatives in braces. ``flags`` are settings by
    name, ``loras`` those of its tags. ``notes`` tell the member what has no effect here, ``plain_notes`` what has none with
    models that read plain text. ``errors`` are about tags, flags and variants; `RequestBuilder` raises them together with those
    of the options.
    """

    text: str
    variants: tuple[str, ...]
    flags: Mapping[str, Any]
    notes: tuple[Text, ...] = ()
    errors: tuple[InvalidRequestError, ...] = ()
    loras: Loras = ()
    plain_notes: tuple[Text, ...] = ()


def parse_prompt(text: str, negative: str | None = None) -> ParsedPrompt:
    """Parse the prompt that a member typed.

    The notes are about ``negative``, the negative prompt of an option, too.
    """
    problems = Problems()
    text = clean(text)
    loras: Loras = ()
    with problems.collect():
        text, loras = take_loras(text)
    parsed = parse_flags(text)
    texts = (parsed.text, parsed.settings.get("negative_prompt", ""), negative or "")
    notes = syntax_notes(texts)
    if parsed.unknown:
        notes = (unknown_flags_note(parsed.unknown), *notes)
    variants: tuple[str, ...] = (parsed.text,)
    problems.errors += parsed.errors
    with problems.collect():
        variants = expand(parsed.text)
    return ParsedPrompt(
        parsed.text, variants, parsed.settings, notes, tuple(problems.errors), loras, syntax_notes(texts, PLAIN_NOTES)
    )


def take_loras(text: str) -> tuple[str, Loras]:
    """Take the LoRAs out of a prompt; raises `InvalidRequestError`.

    A LoRA belongs to all pictures of a prompt, so it may not be one of the alternatives in braces.
    """
    kept, loras = take_tags(text)
    if loras and "{" in text and len({frozenset(take_tags(variant)[1]) for variant in expand(text)}) > 1:
        raise InvalidRequestError("loras", "A LoRA holds for all pictures of a prompt. Put it outside of the braces.")
    return kept, loras


def clean_later_prompt(text: str) -> str:
    """Return a prompt that follows another one in the same picture.

    Raises `InvalidRequestError` if it is too long or names LoRAs, which the picture has from its start.
    """
    cleaned, loras = take_tags(clean(text))
    if loras:
        raise InvalidRequestError("loras", "A picture keeps its LoRAs to the end. Put them into its first prompt.")
    return validate_prompt(cleaned)


def clean(text: str) -> str:
    """Return ``text`` without characters that are invisible or break lines.

    These are control characters, lone surrogates, joiners that join nothing, and combining marks beyond those of real letters.
    Custom emojis of Discord become their names.
    """
    kept: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", CUSTOM_EMOJI.sub(r" \1 ", text)):
        category = unicodedata.category(character)
        if category in ("Mn", "Me"):
            marks += 1
        elif category != "Cf":
            marks = 0
        if category == "Cc":
            kept.append(" ")
        elif marks <= MAX_COMBINING_MARKS and _is_kept(character, category, kept):
            kept.append(character)
    # Composed again, because a letter and its mark may have been kept apart.
    words = (word.rstrip(JOINERS) for word in unicodedata.normalize("NFC", "".join(kept)).split())
    return " ".join(filter(None, words))


def _is_kept(character: str, category: str, kept: list[str]) -> bool:
    """Whether ``character`` stays behind the characters that are ``kept``."""
    code = ord(character)
    if character in JOINERS:
        return bool(kept) and kept[-1] not in JOINERS and not kept[-1].isspace()
    if code in FLAG_LETTERS:
        return bool(kept) and (kept[-1] == BLACK_FLAG or ord(kept[-1]) in FLAG_LETTERS)
    if category == "Cn":
        return code & 0xFFFE != 0xFFFE and not any(code in ignorable for ignorable in IGNORABLE)
    return category not in ("Cf", "Cs", "Co")


def validate_prompt(text: str) -> str:
    """Return ``text``; raises `InvalidRequestError` if it is too long."""
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
