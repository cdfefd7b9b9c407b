"""What becomes of pictures that were flagged: pure, from what their server has set."""

from collections.abc import Mapping
from typing import Final

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.request.preferences import FlaggedAction, Preferences

NORMAL: Final = FlaggedAction.REVIEW
RESTRICTED: Final = FlaggedAction.SPOILER
ACTION_NAMES: Final = {
    FlaggedAction.ALLOW: "shown as any other",
    FlaggedAction.SPOILER: "shown as spoilers",
    FlaggedAction.REVIEW: "held for the moderators",
    FlaggedAction.REFUSE: "not shown",
}


def action_for(server: Preferences | None, age_restricted: bool) -> FlaggedAction:
    """Decide for flagged pictures in a channel that is ``age_restricted`` or not; ``server`` is None in direct messages.

    Nothing can be held where there is no channel for it.
    """
    if server is None:
        return FlaggedAction.REFUSE
    rule = server.flagged_restricted or RESTRICTED if age_restricted else server.flagged or NORMAL
    return FlaggedAction.REFUSE if rule is FlaggedAction.REVIEW and server.moderators is None else rule


def rule_text(server: Preferences, language: str = ENGLISH) -> str:
    """Say what becomes of flagged pictures, and where that is not what was set."""
    here, restricted = (f"**{say(language, ACTION_NAMES[action_for(server, where)])}**" for where in (False, True))
    lines = [
        say(language, "Flagged pictures are {shown} here.", shown=here),
        say(language, "Flagged pictures are {shown} in age-restricted channels.", shown=restricted),
    ]
    if server.moderators is not None:
        lines.append(say(language, "They are held in {channel}.", channel=f"<#{server.moderators}>"))
    elif FlaggedAction.REVIEW in (server.flagged or NORMAL, server.flagged_restricted or RESTRICTED):
        lines.append(say(language, "They would be held, but there is no channel for it: set one with `/moderation channel`."))
    return "\n".join(lines)


def flags_text(flags: Mapping[str, float]) -> str:
    """Word the labels for which pictures were flagged, the surest first."""
    return ", ".join(f"{label} {score:.0%}" for label, score in sorted(flags.items(), key=lambda flag: -flag[1]))
