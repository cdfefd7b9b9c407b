r"""Prompts as members write them, parsed once: text, flags and variants.

``{red|blue} fox`` is a red and a blue fox. Braces may contain braces. ``\{``, ``\|`` and ``\}`` stand for themselves. So does a
brace without a bar or without its partner.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cogs.core.request.flags import FLAG_START, STYLE_LIMIT, ParsedFlags, parse_flags, unknown_flags_note
from diffusion.errors import InvalidRequestError, Problems
from diffusion.lora.tags import TAG_START, Loras, take_tags
from diffusion.request import ImageRequest
from diffusion.text import N_, Text, plural

__all__ = ["PROMPT_LIMIT", "STYLE_LIMIT", "ParsedPrompt", "clean", "parse_prompt"]

PROMPT_LIMIT: Final = 1000
TOO_LONG: Final = plural(
    "The prompt and its style may have {limit} character together. Please shorten them.",
    "The prompt and its style may have {limit} characters together. Please shorten them.",
    by="limit",
)
MAX_COMBINING_MARKS: Final = 3  # a letter of any language carries no more
CUSTOM_EMOJI: Final = re.compile(r"<a?:(\w{1,32}):\d{1,20}>", re.ASCII)
JOINERS: Final = "\u200c\u200d"  # within words of many languages, and within emojis
FLAG_LETTERS: Final = range(0xE0020, 0xE0080)  # behind a black flag: the flags of England, Scotland and Wales
BLACK_FLAG: Final = "\U0001f3f4"
# Characters without a meaning yet. Python's tables are older than many emojis, so others of category Cn stay.
IGNORABLE: Final = (range(0x2060, 0x2070), range(0xFDD0, 0xFDF0), range(0xFFF0, 0xFFF9), range(0xE0000, 0xE1000))
MAX_FILES: Final = 10  # Discord's limit on a message
SPECIAL: Final = re.compile(r"\\[{|}]|[{|}]")
# Each expression looks at a bounded number of characters from any place, so that a search takes linear time.
NOTES: Final = (
    (
        re.compile(r"https?://|(?<!\w)www\.\w|(?<!\w)discord\.gg/", re.IGNORECASE),
        N_("I read a link in a prompt as words and do not open it. To start from a picture, attach it to `/similar`."),
    ),
    (
        re.compile(r"::\s{0,3}-?[\d.]|\S::(?:\s|$)"),
        N_("Weights such as `::2` have no effect here. Put what matters first."),
    ),
    (
        re.compile(r"\[[^\[\]|]{0,99}(?:\|[^\[\]]{0,99}|:[^\[\]]{0,99}:\s{0,3}[\d.]{1,6}\s{0,3})\]"),
        N_("Words that change with the steps, such as `[cat:dog:0.5]` or `[cat|dog]`, have no effect here. Leave them out."),
    ),
    (
        re.compile(r"<(?:lyco|hypernet):", re.IGNORECASE),
        N_("Hypernetworks such as `<hypernet:name:1>` are not supported, so I read them as words."),
    ),
    (
        re.compile(r"<lora:", re.IGNORECASE),
        N_("A LoRA in a negative prompt has no effect: I read it as words. Put it into the prompt."),
    ),
)
# About models that read prompts as plain text.
PLAIN_NOTES: Final = (
    (
        re.compile(r":\s{0,3}[-+]?(?:\d\.\d{0,4}|\.?\d)\s{0,3}\)|\({2}\w|\[[^\[\]\s][^\[\]]{0,99}\]|(?<!\w)BREAK(?!\w)"),
        N_("Emphasis such as `(word:1.3)`, `((word))` or `[word]` has no effect here. Put what matters first."),
    ),
)


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
    if TAG_START.search(text):
        with problems.collect():
            text, loras = take_loras(text)
    parsed = parse_flags(text) if FLAG_START.search(text) else ParsedFlags(text)
    texts = (parsed.text, parsed.settings.get("negative_prompt", ""), negative or "")
    notes = syntax_notes(texts)
    if parsed.unknown:
        notes = (unknown_flags_note(parsed.unknown), *notes)
    variants: tuple[str, ...] = (parsed.text,)
    problems.errors += parsed.errors
    if SPECIAL.search(parsed.text):
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
    if len(cleaned) > PROMPT_LIMIT:
        raise InvalidRequestError("prompt", TOO_LONG, limit=PROMPT_LIMIT)
    return cleaned


def clean(text: str) -> str:
    """Return ``text`` without characters that are invisible or break lines.

    These are control characters, lone surrogates, joiners that join nothing, and combining marks beyond those of real letters.
    Custom emojis of Discord become their names.
    """
    text = CUSTOM_EMOJI.sub(r" \1 ", text)
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    kept: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", text):
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

    Raises `InvalidRequestError` if the text is too long, or if the pictures of all variants do not fit in one message.
    """
    if len(text) > PROMPT_LIMIT:
        raise InvalidRequestError("prompt", TOO_LONG, limit=PROMPT_LIMIT)
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


def syntax_notes(texts: Iterable[str], notes: Iterable[tuple[re.Pattern[str], str]] = NOTES) -> tuple[Text, ...]:
    """Return those of ``notes`` on foreign syntax that hold for the prompts ``texts``."""
    texts = tuple(filter(None, texts))
    return tuple(Text(note) for pattern, note in notes if any(pattern.search(text) for text in texts))
