"""Find blocked words and regular expressions in texts, even if disguised.

The search is slow: call it in a thread.
"""

import itertools
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import regex

from cogs.core.policy.confusables import I_OR_L, S_OR_F, skeleton
from diffusion.errors import DarkroomError
from diffusion.text import plural

WORD_LIMIT: Final = 60
EXPRESSION_LIMIT: Final = 200
SEARCH_SECONDS: Final = 0.25  # for all expressions of a server and one text
TRIAL_SECONDS: Final = 0.05  # for a new expression and each of the texts below
TRIAL_TEXTS: Final = tuple(
    f"{text}!" for text in ("a" * 1000, "1" * 1000, "a " * 500, "ab" * 500, "red apple " * 100, "." * 1000)
)
LOOKALIKES: Final = {
    "a": "a@4",
    "b": "b8",
    "e": "e3€",
    "f": f"f{S_OR_F}",
    "g": "g9",
    "i": f"i1!|{I_OR_L}",
    "l": f"l1|{I_OR_L}",
    "o": "o0",
    "s": f"s5${S_OR_F}",
    "t": "t7+",
    "z": "z2",
    I_OR_L: f"il1!|{I_OR_L}",
    S_OR_F: f"sf5${S_OR_F}",
}
MERGED_LETTERS: Final = {ord(sign): signs[0] for signs in LOOKALIKES.values() for sign in signs}  # one for all of i, l, 1, !, |
AMBIGUOUS_READINGS: Final = ({ord(I_OR_L): "i", ord(S_OR_F): "s"}, {ord(I_OR_L): "l", ord(S_OR_F): "f"})
# Signs between letters that still read as one word. Signs that separate words without a space are not among them.
JOINER: Final = r"[-._*'’~`·•\u2600-\u27bf\U0001f000-\U0001faff]{0,3}"
SEPARATOR: Final = r"[\W_]{1,3}"
RECURSION: Final = re.compile(r"\(\?(?:R|\d|&|P>)")
UNSPACED: Final = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
)  # no spaces between words


class InvalidRuleError(DarkroomError):
    """A word or expression cannot be blocked."""


class RuleTimeoutError(DarkroomError):
    """An expression of the server takes too long to decide whether a text is allowed."""


@dataclass(frozen=True)
class Rule:
    """A word, several in a row, or a regular expression, as the moderators wrote it."""

    text: str
    is_expression: bool = False

    def __str__(self) -> str:
        return f"/{self.text}/" if self.is_expression else self.text


class WordList:
    """The compiled rules of a server; raises `InvalidRuleError`."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        rules = list(rules)
        self._words = {rule: _merged_letters(skeleton(rule.text.casefold())) for rule in rules if not rule.is_expression}
        self._expressions = {rule: _expression(rule.text) for rule in rules if rule.is_expression}

    def find(self, text: str) -> Rule | None:
        """Return a rule that ``text`` breaks, or None; raises `RuleTimeoutError`."""
        skeletal = skeleton(text)
        merged_texts = _merged_letters(skeletal), _merged_letters("".join(filter(str.isalnum, skeletal)))
        for rule, merged in self._words.items():
            # The first test is cheap and rules out nearly all words.
            if any(merged in each for each in merged_texts) and _word(rule.text).search(skeletal):
                return rule
        deadline = time.monotonic() + SEARCH_SECONDS
        for rule, expression in self._expressions.items():
            for reading in {text, *map(skeletal.translate, AMBIGUOUS_READINGS)}:
                try:
                    if _matches(expression, reading, deadline - time.monotonic()):
                        return rule
                except TimeoutError:
                    raise RuleTimeoutError(
                        "A rule of this server takes too long to check. Please ask its moderators to change `{rule}`.",
                        rule=rule,
                    ) from None
        return None


def find_broken_rule(words: tuple[str, ...], expressions: tuple[str, ...], text: str) -> Rule | None:
    """Return a rule of the server that ``text`` breaks, or None.

    Raises `RuleTimeoutError` and `InvalidRuleError`.
    """
    return _list(words, expressions).find(text)


@lru_cache(100)
def _list(words: tuple[str, ...], expressions: tuple[str, ...]) -> WordList:
    return WordList([*map(Rule, words), *(Rule(text, is_expression=True) for text in expressions)])


def validate_rule(rule: Rule) -> Rule:
    """Return ``rule`` if it can be blocked; raises `InvalidRuleError`.

    It tries the rule out: call it in a thread.
    """
    limit = EXPRESSION_LIMIT if rule.is_expression else WORD_LIMIT
    if len(rule.text) > limit:
        raise InvalidRuleError(
            plural(
                "This is too long. The limit is {most} character.",
                "This is too long. The limit is {most} characters.",
                by="most",
            ),
            most=limit,
        )
    if not rule.is_expression:
        _word(rule.text)
        return rule
    expression = _expression(rule.text)
    if _matches(expression, "", TRIAL_SECONDS):
        raise InvalidRuleError("This expression matches everything. Please make it narrower.")
    try:
        for text in TRIAL_TEXTS:
            _matches(expression, text, TRIAL_SECONDS)
    except TimeoutError:
        raise InvalidRuleError(
            "This expression takes too long with some texts. Please write it without nested repetitions."
        ) from None
    return rule


def _expression(text: str) -> "regex.Pattern[str]":
    if RECURSION.search(text):
        raise InvalidRuleError("Recursive expressions are not allowed.")
    try:
        return regex.compile(text, regex.IGNORECASE)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRuleError("This is no regular expression that I can read: {reason}.", reason=error) from error


def _matches(expression: "regex.Pattern[str]", text: str, seconds: float) -> bool:
    """Search for at most ``seconds``, without blocking other threads.

    Raises TimeoutError.
    """
    return expression.search(text, timeout=max(1e-6, seconds), concurrent=True) is not None


def _merged_letters(skeletal: str) -> str:
    """Return the letters of a skeleton, simplified for a fast first test.

    One letter stands for all that look alike, and none comes twice in a row.
    """
    letters = filter(str.isalnum, skeletal.translate(MERGED_LETTERS))
    return "".join(letter for letter, _ in itertools.groupby(letters))


@lru_cache(1000)
def _word(text: str) -> "re.Pattern[str]":
    """Match ``text`` as a whole word in skeletons.

    Also matches digits for letters, repeated letters, and letters with gaps.
    """
    words = skeleton(text.casefold()).split()
    letters = [character for word in words for character in word]
    if not any(map(str.isalnum, letters)):
        raise InvalidRuleError("A word needs a letter or a digit.")
    forms = [SEPARATOR.join(map(_stretched, words))]
    if len(letters) > 2:
        forms.append(SEPARATOR.join(map(_letter, letters)))
    start = "" if UNSPACED.match(letters[0]) else r"(?<![^\W_])"
    end = "" if UNSPACED.match(letters[-1]) else r"(?![^\W_])"
    number = r"(?!\d+\b)" if any(map(str.isalpha, letters)) else ""  # 455 is no word
    return re.compile(f"{start}{number}(?:{'|'.join(forms)}){end}")


def _stretched(word: str) -> str:
    """Match ``word``, also with a letter three times or more, as in "baaad".

    A letter that comes twice could make another word.
    """
    pattern = ""
    for character, run in itertools.groupby(word):
        unit = f"(?:{_letter(character)}{JOINER})"
        count = len(list(run))
        pattern += f"{unit}(?:{unit}{{2,}})?" if count == 1 else f"{unit}{{{count},}}"
    return pattern


def _letter(character: str) -> str:
    return f"[{re.escape(LOOKALIKES.get(character, character))}]"
