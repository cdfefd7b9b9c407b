"""The numbers of rows that network calls are filled up to. No tensors."""

from collections.abc import Collection
from typing import Final

# Some backends generate code for each number of rows, which takes as long as several calls. Twice each number is there, too, so
# that two halves fill up like their whole.
ROW_COUNTS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def filled_up(rows: int, usual: Collection[int] = ()) -> int:
    """Return the number of rows that a call of ``rows`` is filled up to: one of ``usual``, or else of `ROW_COUNTS`.

    More than both know stay as they are.
    """
    larger = [count for count in usual if count >= rows] or [count for count in ROW_COUNTS if count >= rows]
    return min(larger, default=rows)


def split_rows(rows: int, streams: int, usual: Collection[int]) -> list[int]:
    """Split a call of ``rows``, which ``streams`` share, into successive ones, so that each is of a usual number or nearly so.

    ``usual`` are the numbers of rows of a stream for which a network is compiled. Without one that suits, others follow in one
    call.
    """
    calls: list[int] = []
    while rows:
        share = -(-rows // streams)
        smaller = [count for count in usual if count <= share]
        if not smaller or any(count - share in (0, 1) for count in usual):  # one row more costs less than a call more
            return [*calls, rows]
        calls.append(min(rows, max(smaller) * streams))
        rows -= calls[-1]
    return calls
