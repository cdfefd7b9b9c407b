"""What a server, a channel or a member prefers where a request leaves it open, and what a server or channel allows.

Pure: `cogs.core.storage.preferences` keeps these, `cogs.core.policy.limits` applies them.
"""

import math
from collections.abc import Iterable
from dataclasses import fields
from enum import StrEnum
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cogs.core.request.options import parse_size
from cogs.core.request.prompt import STYLE_LIMIT
from diffusion.errors import InvalidRequestError
from diffusion.families.defaults import QUALITIES
from diffusion.request import SAMPLER_NAMES
from diffusion.text import plural

LANGUAGES: Final = {"en": "English", "de": "Deutsch", "fr": "Français", "es": "Español", "ja": "日本語"}
RANGES: Final = {
    "steps": (1, 150),
    "guidance": (0, 30),
    "max_size": (8, 4096),
    "max_steps": (1, 150),
    "max_count": (1, 10),
    "allowance": (0, 100_000),
}
MAXIMA: Final = ("max_size", "max_steps", "max_count")


class Scope(StrEnum):
    """For whom preferences hold."""

    MEMBER = "member"
    CHANNEL = "channel"
    SERVER = "server"


class FlaggedAction(StrEnum):
    """What happens to flagged pictures: shown, shown on a click, reviewed by moderators first, or not shown."""

    ALLOW = "allow"
    SPOILER = "spoiler"
    REVIEW = "review"
    REFUSE = "refuse"


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Preferences:
    """None leaves a matter to the next wider scope.

    ``size`` reads "512x768". ``max_size`` is the longest side in pixels, ``channels`` and ``roles`` are the ids of those in
    which and for whom pictures are made, none meaning all; ``allowance`` is how many pictures a member may make a day, and
    ``allowances`` how many for the members of a role. ``words`` and ``expressions`` may not stand in prompts; ``flagged`` says
    what becomes of flagged pictures and ``flagged_restricted`` of those in age-restricted channels, ``moderators`` is the id
    of the channel where they are held. ``remix`` is whether others may start from the member's pictures. Raises
    `InvalidRequestError` for a value out of its range.
    """

    size: str | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    style: str | None = None
    quality: str | None = None
    spoiler: bool | None = None
    private: bool | None = None
    language: str | None = None
    max_size: int | None = None
    max_steps: int | None = None
    max_count: int | None = None
    channels: tuple[int, ...] | None = None
    roles: tuple[int, ...] | None = None
    allowance: int | None = None
    allowances: dict[int, int] | None = None
    words: tuple[str, ...] | None = None
    expressions: tuple[str, ...] | None = None
    flagged: FlaggedAction | None = None
    flagged_restricted: FlaggedAction | None = None
    moderators: int | None = None
    remix: bool | None = None

    def __post_init__(self) -> None:
        parse_size(self.size)
        for field, (least, most) in RANGES.items():
            _check(field, getattr(self, field), least, most)
        for allowance in (self.allowances or {}).values():
            _check("allowance", allowance, *RANGES["allowance"])
        for field, known in (("quality", QUALITIES), ("sampler", SAMPLER_NAMES), ("language", LANGUAGES)):
            value = getattr(self, field)
            if value is not None and value not in known:
                raise InvalidRequestError(field, "The {field} must be one of {known}.", known=", ".join(known))
        if self.style is not None and not 1 <= len(self.style) <= STYLE_LIMIT:
            raise InvalidRequestError(
                "style",
                plural(
                    "A style may have {most} character. Please shorten it.",
                    "A style may have {most} characters. Please shorten it.",
                    by="most",
                ),
                most=STYLE_LIMIT,
            )

    def with_(self, **changes: Any) -> "Preferences":
        """Give a copy with ``changes``, which may be text as members type it; raises `InvalidRequestError`."""
        try:
            return Preferences(**{field.name: getattr(self, field.name) for field in fields(self)} | changes)
        except ValidationError as error:
            field = str(error.errors()[0]["loc"][0])
            raise _out_of_range(field) from error


ADAPTER: Final = TypeAdapter(Preferences)
FIELDS: Final = tuple(field.name for field in fields(Preferences))


def to_json(preferences: Preferences) -> dict[str, Any]:
    """Give what is preferred, and nothing for what is left open."""
    values: dict[str, Any] = ADAPTER.dump_python(preferences, mode="json", exclude_none=True)
    return values


def from_json(values: dict[str, Any]) -> Preferences:
    """Read what `to_json` gave; raises `InvalidRequestError`, or pydantic's ValidationError for what another version wrote."""
    return ADAPTER.validate_python(values)


def layered(scopes: Iterable[Preferences]) -> Preferences:
    """Merge ``scopes``, nearest first: of each field the nearest value that is set, of maxima the lowest."""
    layers = [scope for scope in scopes if scope != NOTHING_SET]
    if not layers:
        return NOTHING_SET
    merged: dict[str, Any] = {}
    for field in FIELDS:
        values = [value for layer in layers if (value := getattr(layer, field)) is not None]
        if values:
            merged[field] = min(values) if field in MAXIMA else values[0]
    return Preferences(**merged)


def _check(field: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not (math.isfinite(value) and least <= value <= most):
        raise _out_of_range(field)


def _out_of_range(field: str) -> InvalidRequestError:
    least, most = RANGES[field]
    return InvalidRequestError(field, "The {field} must be a number from {least} to {most}.", least=least, most=most)


NOTHING_SET: Final = Preferences()
