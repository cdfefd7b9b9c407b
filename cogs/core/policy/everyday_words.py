"""Words that stand for themselves, and are no disguise of another.

CLIP's vocabulary lists them by how often they stand under pictures on the web. Reading it takes a moment: call this in a
thread.
"""

import json
from functools import cache
from pathlib import Path
from typing import Final

import regex

import diffusion

VOCABULARY: Final = Path(diffusion.__file__).parent / "published" / "tokenizer" / "vocab.json"
END_OF_WORD: Final = "</w>"
RARE_RANK: Final = 24_000  # words after it are mostly fragments
# The vocabulary also holds all fragments of two letters, so the words among them are listed: English, German, French, Spanish.
SHORT_WORDS: Final = frozenset(
    "a i y ah al am an as at au be by ce da de do du el em en er es et go ha he hi ho ich if il im in is it ja je la le les lo"
    " ma me mi my ne no ob of oh ok on or os ou ox pi sa se si so su ta te to tu tv uk um un up us we wo ya yo zu".split()
)
POSSESSIVE: Final = regex.compile(r"(?:\p{L}+['’](?:s|t|d|m|ll|re|ve)|(?:[ldjmnstc]|qu)['’]\p{L}{2,}|[\p{L}]{2,}s['’])")


def is_everyday(word: str) -> bool:
    """Return whether ``word``, in small letters, is a common word or a form with an apostrophe."""
    return word in SHORT_WORDS or word in _long_words() or POSSESSIVE.fullmatch(word) is not None


@cache
def _long_words() -> frozenset[str]:
    vocabulary: dict[str, int] = json.loads(VOCABULARY.read_text())
    words = (token.removesuffix(END_OF_WORD) for token, rank in vocabulary.items() if rank < RARE_RANK and END_OF_WORD in token)
    return frozenset(word for word in words if len(word) > 2 and word.isalpha() and not _is_stretched(word))


def _is_stretched(word: str) -> bool:
    return any(3 * letter in word for letter in set(word))
