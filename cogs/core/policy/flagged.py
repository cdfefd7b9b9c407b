"""What becomes of pictures that were flagged: pure, from what their server has set."""

from collections.abc import Mapping
from typing import Final

from cogs.core.i18n.catalogues import ENGLISH, say, translated
from cogs.core.request.preferences import Preferences, Verdict

NORMAL: Final = Verdict.HOLD
RESTRICTED: Final = Verdict.SPOILER
WORDED: Final = {
    Verdict.ALLOW: "shown as any other",
    Verdict.SPOILER: "shown as spoilers",
    Verdict.HOLD: "held for the moderators",
    Verdict.REFUSE: "not shown",
}


def verdict(server: Preferences | None, age_restricted: bool) -> Verdict:
    """Decide for flagged pictures in a channel that is ``age_restricted`` or not; ``server`` is None in direct messages.

    Nothing can be held where there is no channel for it.
    """
    if server is None:
        return Verdict.REFUSE
    rule = server.flagged_restricted or RESTRICTED if age_restricted else server.flagged or NORMAL
    return Verdict.REFUSE if rule is Verdict.HOLD and server.moderators is None else rule


def rule_text(server: Preferences, language: str = ENGLISH) -> str:
    """Say what becomes of flagged pictures, and where that is not what was set."""
    here, restricted = (f"**{translated(language, 'texts', WORDED[verdict(server, where)])}**" for where in (False, True))
    lines = [
        say(language, "Flagged pictures are {shown} here.", shown=here),
        say(language, "Flagged pictures are {shown} in age-restricted channels.", shown=restricted),
    ]
    if server.moderators is not None:
        lines.append(say(language, "They are held in {channel}.", channel=f"<#{server.moderators}>"))
    elif Verdict.HOLD in (server.flagged or NORMAL, server.flagged_restricted or RESTRICTED):
        lines.append(say(language, "They would be held, but there is no channel for it: set one with `/moderation channel`."))
    return "\n".join(lines)


def flags_text(flags: Mapping[str, float]) -> str:
    """Word the labels for which pictures were flagged, the surest first."""
    return ", ".join(f"{label} {score:.0%}" for label, score in sorted(flags.items(), key=lambda flag: -flag[1]))
