"""Styles by name: the model's own, or those of the operator's file."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cogs.core.request.prompt import PROMPT_LIMIT, STYLE_LIMIT
from diffusion.errors import DarkroomError
from diffusion.families.defaults import Phrase

PROMPT_PLACEHOLDER: Final = "{prompt}"
NO_STYLE: Final = "none"


class StylesError(DarkroomError):
    """The styles file is missing or invalid."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Style:
    """The additions of a style to a prompt.

    The prompt replaces ``{prompt}``, or else comes first. ``negative`` is added to the negative prompt; ``steps`` and
    ``guidance`` replace the defaults.
    """

    prompt: Annotated[str, Field(min_length=1, max_length=PROMPT_LIMIT // 2)]
    negative: Annotated[str, Field(max_length=PROMPT_LIMIT // 2)] = ""
    steps: Annotated[int, Field(ge=1, le=150)] | None = None
    guidance: Annotated[float, Field(ge=0, le=30)] | None = None

    def apply(self, prompt: str) -> str:
        """Return ``prompt`` in this style."""
        template = self.prompt if PROMPT_PLACEHOLDER in self.prompt else f"{PROMPT_PLACEHOLDER}, {self.prompt}"
        styled = template.replace(PROMPT_PLACEHOLDER, prompt)
        return styled if prompt else styled.strip(", ")


def styles_of_words(words: Iterable[str]) -> dict[str, Style]:
    """Return styles that add each of ``words`` to the prompt."""
    return {word: Style(word) for word in words}


def read_styles(path: Path) -> dict[str, Style]:
    """Read a TOML file with one table for each style; raises `StylesError`."""
    try:
        return TypeAdapter(dict[Phrase, Style]).validate_python(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, ValueError) as error:  # no such file, no UTF-8, no TOML
        reason = str(error)
    raise StylesError(f"The styles of STYLES_FILE cannot be read ({path}): {reason}")


def find_style(styles: Mapping[str, Style], name: str) -> Style | None:
    """Return the style ``name``, in any case; "none" means no style.

    Unknown words are a style themselves.
    """
    if name.strip().lower() in ("", NO_STYLE):
        return None
    known = {each.lower(): style for each, style in styles.items()}
    return known.get(name.strip().lower()) or Style(name[:STYLE_LIMIT])
