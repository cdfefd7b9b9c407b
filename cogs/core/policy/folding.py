"""The folded form of a text, in which disguised words can be searched in linear time.

Letters are those of the skeleton, signs are ASCII's, and three marks say how letters belong together:

- `GUARD` between two letters: they belong to an everyday word, where each letter stands for itself.
- `SOFT` between two words: they may be parts of one, as in "ki ll".
- `HARD` between two words: each is a word of its own, as in "pen is".
"""

import itertools
import string
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import regex

from cogs.core.policy.confusables import I_OR_L, S_OR_F, skeleton
from cogs.core.policy.everyday_words import is_everyday

GUARD: Final = "\x01"
SOFT: Final = " "
HARD: Final = "\n"
NAME: Final = "\x02"  # stands for a name that contains a word by accident
OTHER_SIGN: Final = "."
SIGNS: Final = string.punctuation + "€£¢¥§¡µ"  # those that may stand for letters; all others become a point
EXACT_DIGITS: Final = {ord(digit): chr(0xE000 + int(digit)) for digit in string.digits}  # in numbers, where none is a letter
NAMES: Final = (
    "Al Gore", "Gore Verbinski", "Gore Vidal", "Gore-Tex", "Moby Dick", "Dick Tracy", "Dick Van Dyke", "Van Dyke",
    "blue tit", "coal tit", "great tit", "tit for tat", "pussy willow", "cock-a-doodle-doo", "cock of the rock",
    "bath bomb", "photo bomb", "blood orange", "Bloody Mary", "To Kill a Mockingbird", "Kill Bill",
)  # fmt: skip
UNSPACED: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # no spaces between words
_SCRIPT_CHANGE: Final = regex.compile(rf"(?<=[{UNSPACED}])(?=[a-z0-9])|(?<=[a-z0-9])(?=[{UNSPACED}])")
_GAP: Final = regex.compile(r"((?:[\s,;:?…—–]|(?<!\\)/(?!\\))+)")
_NUMBER: Final = regex.compile(r"[(#$€£+-]?\d[\d.'x×-]*[)%€£!]*")
_INITIALS: Final = regex.compile(r"(?:\p{L}\.)+")
_APOSTROPHE: Final = regex.compile("['’]")  # "I'll" is not "ill"
_READING: Final = {ord(I_OR_L): "i", ord(S_OR_F): "s"}


@dataclass(frozen=True)
class _Token:
    """What stands between two gaps; ``core`` is without signs around it."""

    text: str
    core: str

    @property
    def is_letter(self) -> bool:
        return len(self.core) == 1 and self.core.isalpha()

    @property
    def is_everyday(self) -> bool:
        return is_everyday(self.core.translate(_READING))

    @property
    def is_initials(self) -> bool:
        return _INITIALS.fullmatch(self.text) is not None


def fold(text: str, names: Iterable[str] = ()) -> str:
    """Return ``text`` as the automata of the word list read it; ``names`` are left out."""
    skeletal = skeleton(text)
    for name in names:
        skeletal = _name_pattern(name).sub(NAME, skeletal)
    parts = _GAP.split(_SCRIPT_CHANGE.sub(OTHER_SIGN, skeletal))
    tokens = [_Token(part, _core(part)) for part in parts[::2]]
    gaps = [SOFT, *itertools.starmap(_gap, itertools.pairwise(tokens))]
    return "".join(gap + piece for gap, piece in zip(gaps, _pieces(tokens), strict=True)) + SOFT


def split_words(skeletal: str) -> list[str]:
    """Return what `fold` takes for the words of a skeleton."""
    return [part for part in _GAP.split(skeletal)[::2] if part]


def is_letter(character: str) -> bool:
    """Return whether ``character`` is a letter, a digit or a mark."""
    return character.isalnum() or character == NAME or unicodedata.category(character)[0] == "M"


def _core(text: str) -> str:
    letters = [index for index, character in enumerate(text) if is_letter(character)]
    return text[letters[0] : letters[-1] + 1] if letters else ""


def _gap(left: _Token, right: _Token) -> str:
    if len(left.core) == len(right.core) == 1 or not (left.is_everyday or right.is_everyday):
        return SOFT
    own_words = all(token.is_everyday or token.is_initials for token in (left, right))
    return HARD if own_words else SOFT


def _pieces(tokens: list[_Token]) -> Iterator[str]:
    for is_single, run in itertools.groupby(tokens, lambda token: len(token.core) == 1):
        together = list(run)
        spells = is_single and any(token.is_letter for token in together)  # "k 1 l l", but not "4 5 5"
        for token in together:
            yield _piece(token, spells)


def _piece(token: _Token, spells: bool) -> str:
    text = token.text
    if token.is_everyday:
        text = text.replace(token.core, HARD.join(map(GUARD.join, _APOSTROPHE.split(token.core))))
    elif not spells and _NUMBER.fullmatch(text):
        text = text.translate(EXACT_DIGITS)
    return "".join(character if _is_kept(character) else OTHER_SIGN for character in text)


def _is_kept(character: str) -> bool:
    return character in SIGNS or character in (GUARD, HARD) or character in EXACT_DIGITS.values() or is_letter(character)


@cache
def _name_pattern(name: str) -> "regex.Pattern[str]":
    words = r"[\s-]+".join(regex.split(r"\W+", skeleton(name)))
    return regex.compile(rf"(?<![^\W_]){words}(?![^\W_])")
