"""Prompts as members write them, parsed once: the text, what its flags set, and the variants it stands for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cogs.core.request.flags import parse_flags
from cogs.core.request.prompt_matrix import expand
from cogs.core.request.text import clean


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt without its flags.

    ``variants`` are the prompts that ``text`` stands for: one, or several where it has alternatives in braces. ``flags`` are
    settings by name, ``unknown_flags`` those that mean nothing here.
    """

    text: str
    variants: tuple[str, ...]
    flags: Mapping[str, Any]
    unknown_flags: tuple[str, ...] = ()


def parse_prompt(text: str) -> ParsedPrompt:
    """Parse what a member typed; raises `InvalidRequestError` for a flag's bad value and for too many variants."""
    parsed = parse_flags(clean(text))
    return ParsedPrompt(parsed.text, expand(parsed.text), parsed.settings, parsed.unknown)
