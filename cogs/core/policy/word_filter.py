"""Find blocked words and regular expressions in texts, even if disguised.

The search is slow: call it in a thread.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import re2
import regex

from cogs.core.policy.confusables import I_OR_L, S_OR_F, skeleton, with_small_foreign_letters, without_faux_russian
from cogs.core.policy.folding import NAMES, fold
from cogs.core.policy.word_patterns import compile_pattern, word_pattern
from diffusion.errors import DarkroomError
from diffusion.text import plural

WORD_LIMIT: Final = 60
EXPRESSION_LIMIT: Final = 200
SEARCH_SECONDS: Final = 0.25  # of work for all rules of a server and one text
TRIAL_SECONDS: Final = 0.05  # for a new expression and each of the texts below
TRIAL_TEXTS: Final = tuple(
    f"{text}!" for text in ("a" * 1000, "1" * 1000, "a " * 500, "ab" * 500, "red apple " * 100, "." * 1000)
)
AMBIGUOUS_READINGS: Final = ({ord(I_OR_L): "i", ord(S_OR_F): "s"}, {ord(I_OR_L): "l", ord(S_OR_F): "f"})
RECURSION: Final = re.compile(r"\(\?(?:R|\d|&|P>)")


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


class _Budget:
    """At most ``seconds`` of work by this thread; what other threads and processes do meanwhile does not count."""

    def __init__(self, seconds: float) -> None:
        self._end = time.thread_time() + seconds

    @property
    def is_used_up(self) -> bool:
        return time.thread_time() > self._end

    def matches(self, expression: "regex.Pattern[str]", text: str) -> bool:
        """Search without blocking other threads.

        Raises TimeoutError.
        """
        seconds = max(1e-6, self._end - time.thread_time())
        while True:
            try:
                return expression.search(text, timeout=seconds, concurrent=True) is not None
            except TimeoutError:
                if self.is_used_up:
                    raise
                seconds *= 2  # `regex` has counted the work of the whole process, such as a drawing engine


class WordList:
    """The compiled rules of a server; raises `InvalidRuleError`.

    Words are searched by RE2, in time linear in the text; expressions are stopped. One budget holds for all.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        rules = list(rules)
        self._words = {rule: _word(rule.text) for rule in rules if not rule.is_expression}
        self._expressions = {rule: _expression(rule.text) for rule in rules if rule.is_expression}
        listed = {skeleton(rule.text) for rule in self._words}
        self._names = [name for name in NAMES if skeleton(name) not in listed]

    def find(self, text: str) -> Rule | None:
        """Return a rule that ``text`` breaks, or None; raises `RuleTimeoutError`."""
        budget = _Budget(SEARCH_SECONDS)
        if self._words:
            readings = {text, without_faux_russian(text), with_small_foreign_letters(text)}
            folded = [fold(reading, self._names).encode() for reading in readings]
            for rule, pattern in self._words.items():
                if any(map(pattern.search, folded)):
                    return rule
                if budget.is_used_up:
                    raise _timeout(rule)
        if self._expressions:
            readings = {text, *map(skeleton(text).translate, AMBIGUOUS_READINGS)}
            for rule, expression in self._expressions.items():
                try:
                    if any(budget.matches(expression, reading) for reading in readings):
                        return rule
                except TimeoutError:
                    raise _timeout(rule) from None
        return None


def _timeout(rule: Rule) -> RuleTimeoutError:
    return RuleTimeoutError(
        "A rule of this server takes too long to check. Please ask its moderators to change `{rule}`.", rule=rule
    )


def find_broken_rule(words: tuple[str, ...], expressions: tuple[str, ...], text: str) -> Rule | None:
    """Return a rule of the server that ``text`` breaks, or None.

    Raises `RuleTimeoutError` and `InvalidRuleError`.
    """
    return _list(words, expressions).find(text)


@lru_cache(32)  # of up to 100 MB
def _list(words: tuple[str, ...], expressions: tuple[str, ...]) -> WordList:
    return WordList([*map(Rule, words), *(Rule(text, is_expression=True) for text in expressions)])


def validate_rule(rule: Rule) -> Rule:
    """Return ``rule`` if it can be blocked; raises `InvalidRuleError`.

    It tries the rule out: call it in a thread.
    """
    limit = EXPRESSION_LIMIT if rule.is_expression else WORD_LIMIT
    length = len(rule.text) if rule.is_expression else len(skeleton(rule.text))  # "㎏" stands for two letters
    if length > limit:
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
    if _Budget(TRIAL_SECONDS).matches(expression, ""):
        raise InvalidRuleError("This expression matches everything. Please make it narrower.")
    try:
        for text in TRIAL_TEXTS:
            _Budget(TRIAL_SECONDS).matches(expression, text)
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


def _word(text: str) -> "re2._Regexp[str]":
    pattern = word_pattern(text)
    if pattern is None:
        raise InvalidRuleError("A word needs a letter or a digit.")
    return compile_pattern(pattern)
