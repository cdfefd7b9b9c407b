"""Short ids of pictures, which people can say and type: "k7f2qh".

They have no vowels, so that none reads as a word, and no two signs that look alike. They begin with a letter, so that none
reads as a number.
"""

import re
from typing import Final

DIGITS: Final = "0123456789"
LETTERS: Final = "bcdfghjkmnpqrstvwxyz"
SIGNS: Final = DIGITS + LETTERS
LENGTH: Final = 6
PLACES: Final = (LETTERS, *[SIGNS] * (LENGTH - 1))  # what may stand in each place
COUNT: Final = len(LETTERS) * len(SIGNS) ** (LENGTH - 1)  # how many there are: 486,000,000
LOOK_ALIKES: Final = str.maketrans("oil", "011")  # what people type for the digits
_BEGINNING: Final = re.compile(rf"[{LETTERS}][{SIGNS}]{{0,{LENGTH - 1}}}")


def short_id_of(number: int) -> str:
    """Return the short id of a ``number`` from 0 to `COUNT` - 1; each has its own."""
    signs = []
    for _ in range(LENGTH - 1):
        number, sign = divmod(number, len(SIGNS))
        signs.append(SIGNS[sign])
    return LETTERS[number] + "".join(reversed(signs))


def read_short_id(typed: str) -> str | None:
    """Return the short id that a member typed, None if it is none."""
    beginning = read_beginning(typed)
    return beginning if beginning is not None and len(beginning) == LENGTH else None


def read_beginning(typed: str) -> str | None:
    """Return the beginning of a short id that a member typed, None if none begins so."""
    plain = typed.strip().removeprefix("#").lower().translate(LOOK_ALIKES)
    return plain if _BEGINNING.fullmatch(plain) else None
