"""The numbers of rows that network calls are filled up to. No tensors."""

from typing import Final

# Some backends generate code for each number of rows, which takes as long as several calls. Twice each number is there, too, so
# that two halves fill up like their whole.
ROW_COUNTS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def filled_up(rows: int) -> int:
    """Return the number of rows that a call of ``rows`` is filled up to; more than `ROW_COUNTS` knows stay as they are."""
    return next((count for count in ROW_COUNTS if count >= rows), rows)
