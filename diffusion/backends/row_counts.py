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
    """Split a call of ``rows``, which ``streams`` share, into successive calls of usual numbers of rows, or one less.

    ``usual`` are the numbers of rows of a stream for which a network is compiled. Rows that are fewer than any of them stay in
    one call.
    """
    calls: list[int] = []
    while rows:
        share = -(-rows // streams)
        smaller = [count for count in usual if count <= share]
        is_near = any(count - share in (0, 1) for count in usual)  # to compute one row in vain costs less than another call
        if is_near or not smaller:
            return [*calls, rows]
        calls.append(min(rows, max(smaller) * streams))
        rows -= calls[-1]
    return calls
