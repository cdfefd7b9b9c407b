"""What a server's word list catches and what it lets pass."""

import string
import unicodedata

import pytest
from confusable_homoglyphs.confusables import is_confusable
from hypothesis import given, settings
from hypothesis import strategies as st

from cogs.core.policy import word_filter
from cogs.core.policy.word_filter import InvalidRuleError, Rule, RuleTimeoutError, WordList, validate_rule

INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\u202e\u2066\u3164\ufe0f\U000e0041\u0000"
MARKS = "\u0300\u0301\u0308\u0327\u0336\u0489\u20dd\u0e34\u05b0"


def alike(letter):
    """All that Unicode says looks like ``letter``, small or capital, and the same letter in other clothes."""
    forms = [letter, letter.upper()]
    known = [glyph["c"] for group in is_confusable("".join(forms), greedy=True) for glyph in group["homoglyphs"]]
    dressed = [
        character for character in map(chr, range(0x1D400, 0x1D7D0)) if unicodedata.normalize("NFKC", character) in forms
    ]
    # An l for a capital I and an rn for an m would make words of other words.
    return forms + dressed + [glyph.strip("\u200e") for glyph in known if glyph not in ("l", "rn")]


ALIKE = {letter: alike(letter) for letter in string.ascii_lowercase}
listed = st.text(string.ascii_lowercase, min_size=3, max_size=10)


@st.composite
def disguised(draw, word):
    """Write ``word`` so that a reader still reads it."""
    text = ""
    for letter in word:
        text += draw(st.sampled_from(ALIKE[letter]))
        text += draw(st.text(INVISIBLE + MARKS, max_size=3))
    return text


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(listed.flatmap(lambda word: st.tuples(st.just(word), disguised(word))))
def test_find_sees_through_look_alikes_and_invisible_characters(pair):
    word, text = pair
    for sentence in (text, f"a {text} fox", f"({text}), in snow"):
        assert WordList([Rule(word)]).find(sentence) == Rule(word)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(listed, st.text(string.ascii_lowercase, min_size=1, max_size=4), st.booleans())
def test_find_ignores_longer_words(word, more, before):
    longer = more + word if before else word + more
    # Three letters in a row count as one, or the listed word may stand in another place of its own.
    if any(3 * letter in longer for letter in string.ascii_lowercase):
        return
    assert WordList([Rule(word)]).find(f"a {longer} in snow") is None


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ("cunt", "Scunthorpe"),
        ("ass", "class, assassin, glass cassette, CLASS, CIass, Mr. A. S. Smith, 455 cars"),
        ("tit", "title, petit, titan"),
        ("sex", "Essex, sextant"),
        ("cock", "Hancock, peacock, cocktail"),
        ("tail", "a tall tower"),
        ("bad", "baad, badge, a, b, d"),
        ("kill", "skill, killer, kilt"),
        ("hit", "as it. Hither; white"),
        ("か", "が"),
        ("кот", "который"),
    ],
)
def test_find_ignores_harmless_words(listed, text):
    assert WordList([Rule(listed)]).find(text) is None


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ("bad", "b4d"),
        ("bad", "b.a.d"),
        ("bad", "b a d fox"),
        ("bad", "baaaad"),
        ("bad", "b🔥a🔥d"),
        ("bad", "🅱🅰🅳"),
        ("bad", "🇧🇦🇩"),
        ("bad", "⒝⒜⒟"),
        ("bad", "ʙᴀᴅ"),
        ("bad", "ваԁ"),
        ("kill", "kiII"),
        ("kill", "KlLL"),
        ("ass", "a$$"),
        ("red fox", "RED\n  FOX"),
        ("red fox", "red_fox"),
        ("плохо", "ПЛOXO!"),
        ("nude", "nüdé"),
        ("刀", "大刀を持つ"),
        ("1488", "the 1488 flag"),
        ("Bad", "bad"),
    ],
)
def test_find_sees_through_usual_disguises(listed, text):
    assert WordList([Rule(listed)]).find(text) == Rule(listed)


def test_expression_sees_through_disguises():
    rules = WordList([Rule(r"\bnudes?\b", is_expression=True)])
    assert rules.find("two NUDES") and rules.find("nuԁe") and rules.find("n\u200bude")
    assert rules.find("denuded") is None


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (Rule("  "), "needs a letter"),
        (Rule("\u200b!"), "needs a letter"),
        (Rule("a" * 61), "60 characters"),
        (Rule("a" * 201, is_expression=True), "200 characters"),
        (Rule("[", is_expression=True), "no regular expression"),
        (Rule("x*", is_expression=True), "matches everything"),
        (Rule("(?R)", is_expression=True), "Recursive expressions"),
        (Rule(r"(a+)+$", is_expression=True), "takes too long"),
        (Rule(r"(\w+ ?)*(\w+ ?)*\d\d\d$", is_expression=True), "takes too long"),
    ],
)
def test_validate_rule_rejects_unusable_rules(rule, sentence):
    with pytest.raises(InvalidRuleError, match=sentence):
        validate_rule(rule)


@pytest.mark.parametrize("rule", [Rule("bad"), Rule("Red Fox"), Rule(r"\bn[u0]des?\b", is_expression=True)])
def test_validate_rule_returns_usable_rules(rule):
    assert validate_rule(rule) == rule


def test_find_stops_a_slow_expression_and_names_it(monkeypatch):
    monkeypatch.setattr(word_filter, "SEARCH_SECONDS", 0.05)
    with pytest.raises(RuleTimeoutError, match=r"\(x\+x\+\)\+y"):
        WordList([Rule("(x+x+)+y", is_expression=True)]).find("x" * 1000)
