"""Fit texts into what Discord takes of a message."""

from collections.abc import Callable, Sequence
from typing import Final

MESSAGE_LIMIT: Final = 2000  # characters of a plain message
LAYOUT_LIMIT: Final = 4000  # characters of all texts of a layout together
ELLIPSIS: Final = "…"


def fit_text(text: str, most: int, transform: Callable[[str], str] = str) -> str:
    """Return ``transform`` of ``text`` in at most ``most`` characters.

    The text is cut before it is transformed, so that the cut splits nothing that ``transform`` adds, such as escapes.
    """
    transformed = transform(text)
    if len(transformed) <= most:
        return transformed
    kept = 0
    too_many = len(text)
    while too_many - kept > 1:
        middle = (kept + too_many) // 2
        if len(transform(text[:middle] + ELLIPSIS)) <= most:
            kept = middle
        else:
            too_many = middle
    return transform(text[:kept] + ELLIPSIS)


def fit_together(texts: Sequence[str], most: int, transform: Callable[[str], str] = str) -> list[str]:
    """Return ``texts`` as `fit_text` does, in ``most`` characters together.

    The longest are cut.
    """
    lengths = sorted(len(transform(text)) for text in texts)
    room = most
    share = most
    for position, length in enumerate(lengths):
        share = room // (len(lengths) - position)
        if length > share:
            break
        room -= length
    else:
        share = most
    return [fit_text(text, share, transform) for text in texts]
