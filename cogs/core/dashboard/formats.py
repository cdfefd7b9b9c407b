"""Numbers, times and bars as the page writes them."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

UNKNOWN: Final = "–"
BAR_WIDTH: Final = 10  # in units of the picture, as is the height
BAR_HEIGHT: Final = 100


class Bar(NamedTuple):
    """A bar of a chart, from its upper left corner, with the text that explains it."""

    x: float
    y: float
    width: float
    height: float
    text: str


def seconds(value: float | None) -> str:
    """Return a time in its two largest units."""
    if value is None:
        return UNKNOWN
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def milliseconds(value: float | None) -> str:
    """Return a short time."""
    if value is None or value >= 1:
        return seconds(value)
    return f"{1000 * value:.{0 if value >= 0.01 else 1}f} ms"


def amount(value: float | None) -> str:
    """Return a number with as many digits as matter."""
    if value is None:
        return UNKNOWN
    digits = 0 if float(value).is_integer() or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def count_of(value: int, noun: str) -> str:
    """Return how many things ``noun`` there are."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def memory(value: float | None) -> str:
    """Return bytes in decimal units, as settings name them."""
    if value is None:
        return UNKNOWN
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def ago(when: datetime) -> str:
    """Return how long ago ``when`` was."""
    return seconds(max(0.0, (datetime.now(UTC) - when).total_seconds()))


def since(when: float) -> str:
    """Return how long ago ``when`` was, in seconds since 1970."""
    return seconds(max(0.0, time.time() - when))


def bars(values: Sequence[float | None], unit: str) -> list[Bar]:
    """Return a bar for each minute of ``values``, the last of which has just ended."""
    highest = max((value or 0.0 for value in values), default=0.0) or 1.0
    drawn = []
    for number, value in enumerate(values):
        height = round(BAR_HEIGHT * (value or 0.0) / highest, 2)
        text = f"{len(values) - number} min ago: {amount(value)} {unit}"
        drawn.append(Bar(number * BAR_WIDTH + 1, BAR_HEIGHT - height, BAR_WIDTH - 2, height, text))
    return drawn
