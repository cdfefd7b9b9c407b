"""The recipe of a picture, as readers return it, and how they take values from foreign data."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

# Where tools put one text about everything.
COMMENTS: Final = ("parameters", "exif:UserComment", "comment", "exif:ImageDescription")


class UnreadableError(Exception):
    """A tool's settings are there, but cannot be read. The reason is a part of the file by name."""

    def __init__(self, tool: str, reason: str) -> None:
        super().__init__(f"{tool}: {reason}")
        self.tool = tool
        self.reason = reason


@dataclass(frozen=True)
class Recipe:
    """How an image was made: settings of `ImageRequest`, model and sampler.

    ``has_source``: it started from a picture. ``loras`` are names. ``left_out`` names what the tool used and no request here
    has; ``unread`` names what could not be read.
    """

    settings: dict[str, Any]
    model: str = ""
    sampler: str = ""
    has_source: bool = False
    loras: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def find_json(texts: Mapping[str, str], *names: str) -> dict[str, Any]:
    """Return the first of ``names`` that is a JSON object, or an empty one."""
    for name in names:
        found = parse_json(texts.get(name))
        if isinstance(found, dict):
            return found
    return {}


def parse_json(text: Any) -> Any:
    """Return the value of a JSON text, or None."""
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_text(*values: Any) -> str:
    """Return the first of ``values`` that is a text with anything in it, or an empty text."""
    return next((value for value in values if isinstance(value, str) and value.strip()), "")


def as_number(kind: Callable[[Any], Any], *values: Any) -> Any:
    """Return the first of ``values`` that is a finite number, or the text of one, as ``kind``; or None."""
    for value in values:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            try:
                number = kind(float(value) if kind is int and isinstance(value, str) and "." in value else value)
            except (ValueError, OverflowError):
                continue
            if abs(number) < 2**64:  # false for nan
                return number
    return None


def as_dict(value: Any) -> dict[str, Any]:
    """Return ``value`` if it is an object of JSON, or an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return ``value`` if it is a list, or an empty one."""
    return value if isinstance(value, list) else []


def known(**settings: Any) -> dict[str, Any]:
    """Return ``settings`` without those that are None."""
    return {name: value for name, value in settings.items() if value is not None}


def numbers(values: Mapping[str, Any], guidance: str) -> dict[str, Any]:
    """Return the numbers of a request in ``values``, which names the guidance scale ``guidance``, or None for each."""
    return {
        "steps": as_number(int, values.get("steps")),
        "guidance_scale": as_number(float, values.get(guidance)),
        "seed": as_number(int, values.get("seed")),
        "width": as_number(int, values.get("width")),
        "height": as_number(int, values.get("height")),
    }


def sampler_name(sampler: str, schedule: str) -> str:
    """Join the names of a sampler and of its noise schedule, where that is not the usual one."""
    return (
        f"{sampler} {schedule}"
        if sampler and schedule in ("karras", "exponential", "polyexponential", "sgm_uniform")
        else sampler
    )
