"""Choose the action for flagged pictures from the settings of their server."""

from collections.abc import Mapping
from typing import Final

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.request.preferences import FlaggedAction, Preferences
from diffusion.text import N_

DEFAULT_ACTION: Final = FlaggedAction.REVIEW
DEFAULT_AGE_RESTRICTED_ACTION: Final = FlaggedAction.SPOILER
ACTION_NAMES: Final = {
    FlaggedAction.ALLOW: N_("shown as any other"),
    FlaggedAction.SPOILER: N_("shown as spoilers"),
    FlaggedAction.REVIEW: N_("reviewed by moderators"),
    FlaggedAction.REFUSE: N_("not shown"),
}


def action_for(server: Preferences | None, age_restricted: bool) -> FlaggedAction:
    """Return the action for flagged pictures in a channel.

    ``server`` is None in direct messages. Without a channel for moderators, pictures that need a review are refused.
    """
    if server is None:
        return FlaggedAction.REFUSE
    action = _chosen_action(server, age_restricted)
    return FlaggedAction.REFUSE if action is FlaggedAction.REVIEW and server.moderators is None else action


def rule_text(server: Preferences, language: str = ENGLISH) -> str:
    """Describe the actions for flagged pictures, and what is missing for them."""
    action = say(language, ACTION_NAMES[action_for(server, age_restricted=False)])
    restricted_action = say(language, ACTION_NAMES[action_for(server, age_restricted=True)])
    lines = [
        say(language, "Flagged pictures are {shown} here.", shown=f"**{action}**"),
        say(language, "Flagged pictures are {shown} in age-restricted channels.", shown=f"**{restricted_action}**"),
    ]
    if server.moderators is not None:
        lines.append(say(language, "Moderators review them in {channel}.", channel=f"<#{server.moderators}>"))
    elif FlaggedAction.REVIEW in (_chosen_action(server, False), _chosen_action(server, True)):
        lines.append(say(language, "Reviews need a channel. Please set one with `/moderation channel`."))
    return "\n".join(lines)


def flags_text(flags: Mapping[str, float]) -> str:
    """List the labels for which pictures were flagged, the most certain first."""
    return ", ".join(f"{label} {score:.0%}" for label, score in sorted(flags.items(), key=lambda flag: -flag[1]))


def _chosen_action(server: Preferences, age_restricted: bool) -> FlaggedAction:
    if age_restricted:
        return server.flagged_restricted or DEFAULT_AGE_RESTRICTED_ACTION
    return server.flagged or DEFAULT_ACTION
