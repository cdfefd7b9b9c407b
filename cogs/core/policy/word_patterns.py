"""Blocked words as expressions of RE2, which searches in time linear in the text.

They match words in folded texts ([folding](folding.py)): as whole words, with look-alikes, repeated letters and gaps.
"""

import itertools
import re
from typing import Final

import re2
import regex

from cogs.core.policy.confusables import I_OR_L, S_OR_F, skeleton
from cogs.core.policy.folding import EXACT_DIGITS, GUARD, HARD, SIGNS, SOFT, UNSPACED, is_letter, split_words

LOOKALIKES: Final = {
    "a": "a@4*",
    "b": "b86",
    "c": "c¢(<",
    "e": "e3€*",
    "f": f"f{S_OR_F}",
    "g": "g96",
    "h": "h#",
    "i": f"i1!|¡*{I_OR_L}",
    "l": f"l1|!£7{I_OR_L}",
    "o": "o0*",
    "q": "q9",
    "s": f"s5$§z{S_OR_F}",
    "t": "t7+",
    "u": "uvµ*",
    "y": "y¥",
    "z": "z2",
    "'": f"'{HARD}",  # "I'll" is not "ill"
    I_OR_L: f"il1!|¡*{I_OR_L}",
    S_OR_F: f"sf5$§{S_OR_F}",
}
BRACKETS: Final = "(<"  # no letter where a word begins
# Several signs that look like a letter, or letters that sound like it.
DRAWINGS: Final = {
    "a": ("/\\", "/-\\"),
    "b": ("|3", "|8"),
    "d": ("|)", "[)", "|]", "cl"),
    "f": ("|=", "ph"),
    "h": ("|-|", "]-["),
    "i": ("][",),
    "k": ("|<", "|{"),
    "l": ("|_",),
    "m": ("|\\/|", "/\\/\\", "rn", "|v|"),
    "n": ("|\\|", "/\\/"),
    "o": ("()", "[]", "<>"),
    "p": ("|>", "|°"),
    "r": ("|2",),
    "u": ("|_|", "(_)", "00"),
    "v": ("\\/",),
    "w": ("\\/\\/", "vv"),
    "x": ("><", "}{"),
    "y": ("`/",),
}
_ANY_SIGN: Final = re.escape(SIGNS)
_EDGE: Final = f"[{_ANY_SIGN}{SOFT}{HARD}]"
_BETWEEN_WORDS: Final = f"[{_ANY_SIGN}{SOFT}{HARD}]+"
_UNSPACED: Final = regex.compile(f"[{UNSPACED}]")
# "n00d" is read as "nude": the zeros sound like a u, and the e is silent.
_SILENT_E: Final = regex.compile(r"u[b-df-hj-np-tv-z]e")


def word_pattern(text: str) -> str | None:
    """Return the expression for a blocked word, or for several in a row.

    Returns None if ``text`` has no letter or digit.
    """
    words = split_words(skeleton(text.lower()))
    if not any(map(str.isalnum, "".join(words))):
        return None
    is_short = sum(map(len, words)) < 3  # whose letters come together by accident
    body = _BETWEEN_WORDS.join(_spelling(word, "" if is_short else SOFT) for word in words)
    start = "" if _UNSPACED.match(words[0]) else _EDGE
    end = "" if _UNSPACED.match(words[-1][-1]) else _EDGE
    return f"{start}(?:{body}){end}"


def compile_pattern(pattern: str) -> "re2._Regexp[str]":
    """Compile an expression of RE2 that only says whether a text matches."""
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.max_mem = 1 << 20  # bytes; with more states, RE2 goes on without remembering them
    return re2.compile(pattern, options)


def _spelling(word: str, soft: str) -> str:
    """Match a word: each of its letters once or more, with gaps between them."""
    repeated_gap = f"[{_ANY_SIGN}{soft}]*"
    gap = f"[{_ANY_SIGN}{soft}{GUARD}]*"
    units: list[str] = []
    for character, run in itertools.groupby(filter(_is_spelled, word)):
        letter = _letter(character, is_first=not units)
        count = len(list(run))
        units.append(gap.join([letter] * count) + f"(?:{repeated_gap}{letter})*")
    spelling = gap.join(units)
    if _SILENT_E.fullmatch(word[-3:]):
        sounded = [*units[:-3], "00", units[-2]]
        spelling = f"(?:{spelling}|{gap.join(sounded)})"
    return spelling


def _is_spelled(character: str) -> bool:
    return character in SIGNS or is_letter(character)


def _letter(character: str, is_first: bool) -> str:
    if character.isdecimal() and ord(character) in EXACT_DIGITS:
        return f"[{character}{EXACT_DIGITS[ord(character)]}]"
    lookalikes = LOOKALIKES.get(character, character)
    if is_first:
        lookalikes = "".join(sign for sign in lookalikes if sign == character or sign not in BRACKETS)
    signs = f"[{re.escape(lookalikes)}]"
    drawings = map(re.escape, DRAWINGS.get(character, ()))
    return f"(?:{'|'.join([signs, *drawings])})"
