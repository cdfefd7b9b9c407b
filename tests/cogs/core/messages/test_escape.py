"""Members' words as Discord shows them: nothing in them is markup."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogs.core.messages.render import escape, title

SPACE = "\u200b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<t:0:R>", r"\<t\:0:R\>"),
        ("<#1> <@1> <@!1> <@&1>", rf"\<\#1\> \<@{SPACE}1\> \<@{SPACE}!1\> \<@{SPACE}&1\>"),
        ("<:cat:1><a:cat:1>", r"\<\:cat:1\>\<a\:cat:1\>"),
        ("</imagine:1> <id:home>", r"\</imagine:1\> \<id:home\>"),
        (":smile: at 3:20", r"\:smile: at 3:20"),
        ("@everyone @here", f"@{SPACE}everyone @{SPACE}here"),
        ("https://example.com", f"https:/{SPACE}/example.{SPACE}com"),
        ("discord.gg/fox", f"discord.{SPACE}gg/fox"),
        ("fox.example.org", f"fox.{SPACE}example.{SPACE}org"),
        ("a fox. A bear, 1.5 m", "a fox. A bear, 1.5 m"),
        ("[fox](bear)", r"\[fox\](bear)"),
        ("**a** _b_ ~~c~~ ||d|| `e`", r"\*\*a\*\* \_b\_ \~\~c\~\~ \|\|d\|\| \`e\`"),
        ("# a\n-# b\n> c\n- d\n+ e\n1. f", "\\# a\n-\\# b\n\\> c\n\\- d\n\\+ e\n1\\. f"),
        ("\\*fox", r"\\\*fox"),
        ("black-and-white: it's 50 %!", "black-and-white: it's 50 %!"),
    ],
    ids=ascii,
)
def test_escape_leaves_no_markup(text, shown):
    assert escape(text) == shown


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.text(r"ab1.:/@<>#[]()*_~|`\- ", max_size=60))
def test_escape_shows_what_was_typed(text):
    assert re.sub(r"\\([^a-z0-9\s])", r"\1", escape(text)).replace(SPACE, "") == text


@pytest.mark.parametrize("text", ["[" * 9000, "[](" * 3000, ":a" * 4500, "*_" * 4500, " " * 9000 + "x", "a." * 4500])
def test_escape_grows_with_the_text_only(text):
    assert len(escape(text)) <= 2 * len(text)


def test_title_is_bold_and_literal():
    assert title("a <t:0:R>\n# fox") == r"**a \<t\:0:R\> \# fox**"
