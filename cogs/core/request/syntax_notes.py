"""Notes on what members write for other tools, and what has no effect here."""

import re
from collections.abc import Iterable
from typing import Final

from diffusion.text import N_, Text

# Each expression looks at a bounded number of characters from any place, so that a search takes linear time.
NOTES: Final = (
    (
        re.compile(r"https?://|(?<!\w)www\.\w|(?<!\w)discord\.gg/", re.IGNORECASE),
        N_("I read a link in a prompt as words and do not open it. To start from a picture, attach it to `/similar`."),
    ),
    (
        re.compile(r"::\s{0,3}-?[\d.]|\S::(?:\s|$)"),
        N_("Weights such as `::2` have no effect here. Put what matters first."),
    ),
    (
        re.compile(r"\[[^\[\]|]{0,99}(?:\|[^\[\]]{0,99}|:[^\[\]]{0,99}:\s{0,3}[\d.]{1,6}\s{0,3})\]"),
        N_("Words that change with the steps, such as `[cat:dog:0.5]` or `[cat|dog]`, have no effect here. Leave them out."),
    ),
    (
        re.compile(r"<(?:lyco|hypernet):", re.IGNORECASE),
        N_("Hypernetworks such as `<hypernet:name:1>` are not supported, so I read them as words."),
    ),
    (
        re.compile(r"<lora:", re.IGNORECASE),
        N_("A LoRA in a negative prompt has no effect: I read it as words. Put it into the prompt."),
    ),
)


# About models that read prompts as plain text.
PLAIN_NOTES: Final = (
    (
        re.compile(r":\s{0,3}[-+]?(?:\d\.\d{0,4}|\.?\d)\s{0,3}\)|\({2}\w|\[[^\[\]\s][^\[\]]{0,99}\]|(?<!\w)BREAK(?!\w)"),
        N_("Emphasis such as `(word:1.3)`, `((word))` or `[word]` has no effect here. Put what matters first."),
    ),
)


def syntax_notes(texts: Iterable[str], notes: Iterable[tuple[re.Pattern[str], str]] = NOTES) -> tuple[Text, ...]:
    """Return those of ``notes`` on foreign syntax that hold for the prompts ``texts``."""
    texts = tuple(filter(None, texts))
    return tuple(Text(note) for pattern, note in notes if any(pattern.search(text) for text in texts))
