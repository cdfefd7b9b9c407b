"""Links to pictures and messages on Discord, as members type them.

Nothing here opens a link.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_LINK: Final = 1000  # characters
# Each expression looks at a bounded number of characters from any place, so that a search takes linear time.
LINK: Final = re.compile(r"<?(https?://[^\s<>|]{1,1000})>?", re.IGNORECASE)
PICTURE_LINK: Final = re.compile(
    r"https://(?:cdn\.discordapp\.com|media\.discordapp\.net)/[\w./%~-]{1,500}(?:\?[\w.=&%-]{0,400})?", re.ASCII
)
MESSAGE_LINK: Final = re.compile(
    r"https://(?:canary\.|ptb\.)?discord(?:app)?\.com/channels/(@me|[0-9]{1,19})/([0-9]{1,19})/([0-9]{1,19})/?"
)


@dataclass(frozen=True)
class MessageLink:
    """Where a linked message is; ``guild_id`` is None outside servers."""

    guild_id: int | None
    channel_id: int
    message_id: int


def find_links(text: str) -> list[str]:
    """Return the links in ``text``, in its order."""
    return [found[1] for found in LINK.finditer(text)]


def split_links(text: str) -> list[str]:
    """Return the links and ids that a member typed one after the other."""
    return [word for word in re.split(r"[\s,;]+", text) if word]


def is_picture_link(link: str) -> bool:
    """Return whether ``link`` leads to a file on Discord's own hosts."""
    return PICTURE_LINK.fullmatch(link) is not None


def parse_message_link(link: str) -> MessageLink | None:
    """Return the message on Discord to which ``link`` leads, None for other links."""
    match = MESSAGE_LINK.fullmatch(link)
    if match is None:
        return None
    guild = None if match[1] == "@me" else int(match[1])
    return MessageLink(guild, int(match[2]), int(match[3]))


def take_links(text: str) -> tuple[str, list[str]]:
    """Split ``text`` into the text without the links to pictures and messages on Discord, and these links."""
    taken: list[str] = []

    def take(found: "re.Match[str]") -> str:
        link = found[1].rstrip(",.;)")
        if not is_picture_link(link) and parse_message_link(link) is None:
            return found[0]
        taken.append(link)
        return " "

    if "://" not in text:
        return text, taken
    kept = LINK.sub(take, text)
    return (" ".join(kept.split()) if taken else text), taken
