"""The preferences and limits that a server, channel or member sets.

`cogs.core.storage.preferences` stores them, `cogs.core.policy.limits` applies them.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from enum import StrEnum
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cogs.core.request.options import MAX_COUNT, parse_size
from cogs.core.request.prompt import STYLE_LIMIT
from diffusion.errors import InvalidRequestError, Problems
from diffusion.families.defaults import QUALITIES
from diffusion.request import MAX_VARIETY, SAMPLER_NAMES
from diffusion.text import plural

LANGUAGE_NAMES: Final = {"en": "English", "de": "Deutsch", "fr": "Français", "es": "Español", "ja": "日本語"}
RANGES: Final = {
    "steps": (1, 150),
    "guidance": (0, 30),
    "count": (1, MAX_COUNT),
    "variety": (0, MAX_VARIETY),
    "max_size": (8, 4096),
    "max_steps": (1, 150),
    "max_count": (1, 10),
    "allowance": (0, 100_000),
    "star_threshold": (1, 100),
}
MAXIMA: Final = ("max_size", "max_steps", "max_count")


class Scope(StrEnum):
    """The subject of preferences."""

    MEMBER = "member"
    CHANNEL = "channel"
    SERVER = "server"


class FlaggedAction(StrEnum):
    """The action for flagged pictures.

    They are shown, shown as spoilers, reviewed by moderators first, or not shown.
    """

    ALLOW = "allow"
    SPOILER = "spoiler"
    REVIEW = "review"
    REFUSE = "refuse"


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Preferences:
    """Preferences of one scope; None leaves a field to the next wider scope.

    ``size`` is like "512x768", ``count`` how many pictures a prompt makes. ``max_size`` is the side of the largest square in
    pixels. Pictures are made only in the channels whose ids are in ``channels`` and for members with one of ``roles``; None or
    empty allows all. ``allowance`` is how many pictures a member may make a day, and ``allowances`` are those of roles by id.
    Prompts may not contain ``words`` or ``expressions``.
    ``flagged`` is the action for flagged pictures, ``flagged_restricted`` the one in age-restricted channels, and
    ``moderators`` the id of the channel for reviews. Pictures with ``star_threshold`` stars are shown in the channel whose id
    is ``starboard``. ``remix`` is whether others may start from the member's pictures.
    ``presets`` are texts by name, ``preset`` is the one in use; it and ``suffix`` are added to each prompt. Raises
    `InvalidRequestError` for a value out of its range.
    """

    size: str | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    style: str | None = None
    model: str | None = None
    quality: str | None = None
    count: int | None = None
    variety: int | None = None
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
    starboard: int | None = None
    star_threshold: int | None = None
    remix: bool | None = None
    presets: dict[str, str] | None = None
    preset: str | None = None
    suffix: str | None = None

    def __post_init__(self) -> None:
        problems = Problems()
        with problems.collect():
            parse_size(self.size)
        problems.errors += self._find_errors()
        problems.report()

    def _find_errors(self) -> Iterator[InvalidRequestError]:
        for field, (least, most) in RANGES.items():
            if not _is_within(getattr(self, field), least, most):
                yield _out_of_range(field)
        for allowance in (self.allowances or {}).values():
            if not _is_within(allowance, *RANGES["allowance"]):
                yield _out_of_range("allowance")
        for field, known in (("quality", QUALITIES), ("sampler", SAMPLER_NAMES), ("language", LANGUAGE_NAMES)):
            value = getattr(self, field)
            if value is not None and value not in known:
                yield InvalidRequestError(field, "The {field} must be one of {known}.", known=", ".join(known))
        if self.model is not None and not 1 <= len(self.model) <= STYLE_LIMIT:
            yield InvalidRequestError("model", "There is no model of such a name. Choose one from the list.")
        if self.style is not None and not 1 <= len(self.style) <= STYLE_LIMIT:
            yield InvalidRequestError(
                "style",
                plural(
                    "A style may have {most} character. Please shorten it.",
                    "A style may have {most} characters. Please shorten it.",
                    by="most",
                ),
                most=STYLE_LIMIT,
            )

    def with_(self, **changes: Any) -> "Preferences":
        """Return a copy with ``changes``; raises `InvalidRequestError`.

        The changes may be text as members type it.
        """
        try:
            return Preferences(**{field.name: getattr(self, field.name) for field in fields(self)} | changes)
        except ValidationError as error:
            unreadable = dict.fromkeys(str(each["loc"][0]) for each in error.errors())
            Problems(list(map(_out_of_range, unreadable))).report()
            raise


ADAPTER: Final = TypeAdapter(Preferences)
PREFERENCE_FIELDS: Final = tuple(field.name for field in fields(Preferences))


def to_json(preferences: Preferences) -> dict[str, Any]:
    """Return the fields that are set."""
    values: dict[str, Any] = ADAPTER.dump_python(preferences, mode="json", exclude_none=True)
    return values


def from_json(values: dict[str, Any]) -> Preferences:
    """Restore what `to_json` returned; raises `InvalidRequestError`.

    Raises pydantic's ValidationError for the data of another version.
    """
    return ADAPTER.validate_python(values)


def layered(scopes: Iterable[Preferences]) -> Preferences:
    """Merge ``scopes``, which are ordered from the nearest to the widest.

    The nearest value of each field wins, and the lowest of maxima.
    """
    layers = [scope for scope in scopes if scope != NOTHING_SET]
    if not layers:
        return NOTHING_SET
    merged: dict[str, Any] = {}
    for field in PREFERENCE_FIELDS:
        values = [value for layer in layers if (value := getattr(layer, field)) is not None]
        if values:
            merged[field] = min(values) if field in MAXIMA else values[0]
    return Preferences(**merged)


def _is_within(value: float | None, least: float, most: float) -> bool:
    return value is None or (math.isfinite(value) and least <= value <= most)


def _out_of_range(field: str) -> InvalidRequestError:
    least, most = RANGES[field]
    return InvalidRequestError(field, "The {field} must be a number from {least} to {most}.", least=least, most=most)


NOTHING_SET: Final = Preferences()
