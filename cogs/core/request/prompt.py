"""Prompts as members write them, parsed once: text, flags and variants.

Flags such as ``--ar 3:2 --seed 7 --no text`` follow the text, as in Midjourney.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.request.prompt_matrix import expand
from diffusion.errors import InvalidRequestError
from diffusion.request import SAMPLER_NAMES
from diffusion.text import plural

PROMPT_LIMIT: Final = 1000
STYLE_LIMIT: Final = 100
MAX_COMBINING_MARKS: Final = 3  # a letter of any language carries no more
# Phones write two hyphens as a dash.
FLAG: Final = re.compile(r"(?:^|(?<=\s))(--|—|–)([a-z]\w*)(?=[\s=]|$)", re.IGNORECASE)
FLAG_SETTINGS: Final = {
    "ar": "aspect",
    "aspect": "aspect",
    "seed": "seed",
    "no": "negative_prompt",
    "steps": "steps",
    "cfg": "guidance_scale",
    "sampler": "sampler",
    "style": "style",
    "repeat": "count",
    "r": "count",
}
TEXT_SETTINGS: Final = ("negative_prompt", "style")  # take all words up to the next flag; the others take one
MIDJOURNEY_SWITCHES: Final = ("tile", "raw", "fast", "relax", "turbo", "draft", "video", "hd", "sd")
MIDJOURNEY_VALUES: Final = "s stylize q quality c chaos w weird v version niji iw sref cref oref sw cw ow stop p profile exp"
MIDJOURNEY_FLAGS: Final = {*MIDJOURNEY_SWITCHES, *MIDJOURNEY_VALUES.split()}
FLAG_EXAMPLES: Final = "--ar 3:2, --seed 7, --no text, --steps 30, --cfg 5, --sampler euler, --style, --repeat 2"
MAX_RATIO: Final = 4


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt without its flags.

    ``variants`` are the prompts that ``text`` stands for: several if it has alternatives in braces. ``flags`` are settings by
    name. ``unknown_flags`` are those without a meaning here.
    """

    text: str
    variants: tuple[str, ...]
    flags: Mapping[str, Any]
    unknown_flags: tuple[str, ...] = ()


def parse_prompt(text: str) -> ParsedPrompt:
    """Parse the prompt that a member typed.

    Raises `InvalidRequestError` for a bad value of a flag and for too many variants.
    """
    parsed = parse_flags(clean(text))
    return ParsedPrompt(parsed.text, expand(parsed.text), parsed.settings, parsed.unknown)


@dataclass(frozen=True)
class ParsedFlags:
    """A text without its flags, their settings, and the unknown flags."""

    text: str
    settings: dict[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def parse_flags(text: str) -> ParsedFlags:
    """Take the flags out of ``text``.

    Raises `InvalidRequestError` for a value that cannot be read.
    """
    matches = [
        flag for flag in FLAG.finditer(text) if flag[1] == "--" or flag[2].lower() in FLAG_SETTINGS.keys() | MIDJOURNEY_FLAGS
    ]
    if not matches:
        return ParsedFlags(text)
    kept = [text[: matches[0].start()]]
    settings: dict[str, Any] = {}
    unknown: list[str] = []
    ends = [flag.start() for flag in matches[1:]] + [len(text)]
    for flag, end in zip(matches, ends, strict=True):
        words = text[flag.end() : end].lstrip("=").split()
        name = flag[2].lower()
        setting = FLAG_SETTINGS.get(name)
        word_count = 1
        if setting in TEXT_SETTINGS:
            word_count = len(words)
        elif name in MIDJOURNEY_SWITCHES:
            word_count = 0
        value = " ".join(words[:word_count])
        kept += words[word_count:]
        if setting is None or (name, value.lower()) == ("style", "raw"):
            unknown.append(f"--{name} {value}".strip())
        else:
            settings[setting] = _parse_value(name, setting, value)
    return ParsedFlags(" ".join(" ".join(kept).split()), settings, tuple(unknown))


def clean(text: str) -> str:
    """Return ``text`` without characters that are invisible or break lines.

    These are control and zero-width characters, lone surrogates, and combining marks beyond those of real letters.
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


def unknown_flags_note(unknown: tuple[str, ...], language: str = ENGLISH) -> str:
    """Return a note about ignored flags and the flags that work."""
    flags = f"`{'`, `'.join(unknown)}`"
    return say(
        language, "I ignored unknown flags: {flags}. These flags work: {known}.", flags=flags, known=f"`{FLAG_EXAMPLES}`"
    )


def _parse_value(name: str, setting: str, value: str) -> Any:
    if setting == "aspect":
        return _parse_aspect(name, value)
    if setting == "sampler" and value.lower() not in SAMPLER_NAMES:
        raise InvalidRequestError("sampler", "`--{name}` needs one of {known}.", name=name, known=", ".join(SAMPLER_NAMES))
    if setting in ("sampler", "negative_prompt", "style"):
        if not value or (setting == "style" and len(value) > STYLE_LIMIT):
            raise InvalidRequestError(
                setting,
                plural(
                    "`--{name}` needs words after it, and no more than {most} character of a style.",
                    "`--{name}` needs words after it, and no more than {most} characters of a style.",
                    by="most",
                ),
                name=name,
                most=STYLE_LIMIT,
            )
        return value.lower() if setting == "sampler" else value
    try:
        return float(value) if setting == "guidance_scale" else int(value)
    except ValueError:
        raise InvalidRequestError(setting, "`--{name}` needs a number, such as `--{name} 7`.", name=name) from None


def _parse_aspect(name: str, value: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,3})[:x]([1-9]\d{0,3})", value)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not match or max(width, height) > MAX_RATIO * min(width, height):
        raise InvalidRequestError(
            "size",
            "`--{name}` needs width:height, such as `--{name} 3:2`, up to {most}:1 or 1:{most}.",
            name=name,
            most=MAX_RATIO,
        )
    return width, height
