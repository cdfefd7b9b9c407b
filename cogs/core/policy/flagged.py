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
RULE_LINES: Final = {  # by whether the channel is age-restricted: a rule, and a review without a channel for it
    False: (
        N_("Flagged pictures are {shown} here."),
        N_("Flagged pictures wait for a review here, but no channel is set for reviews, so they are not shown."),
    ),
    True: (
        N_("Flagged pictures are {shown} in age-restricted channels."),
        N_("In age-restricted channels they wait for a review, but no channel is set for reviews, so they are not shown."),
    ),
}


def action_for(server: Preferences | None, age_restricted: bool) -> FlaggedAction:
    """Return the action for flagged pictures in a channel.

    ``server`` is None in direct messages. Without a channel for moderators, pictures that need a review are refused.
    """
    if server is None:
        return FlaggedAction.REFUSE
    return FlaggedAction.REFUSE if _lacks_channel(server, age_restricted) else _chosen_action(server, age_restricted)


def rule_text(server: Preferences, language: str = ENGLISH) -> str:
    """Describe the actions for flagged pictures, and what is missing for them."""
    lines = []
    for age_restricted, (shown, without_channel) in RULE_LINES.items():
        if _lacks_channel(server, age_restricted):
            lines.append(say(language, without_channel))
        else:
            action = say(language, ACTION_NAMES[action_for(server, age_restricted)])
            lines.append(say(language, shown, shown=f"**{action}**"))
    if server.moderators is not None:
        lines.append(say(language, "Moderators review them in {channel}.", channel=f"<#{server.moderators}>"))
    elif any(_lacks_channel(server, age_restricted) for age_restricted in RULE_LINES):
        lines.append(say(language, "Please set a channel for reviews with `/moderation channel`."))
    return "\n".join(lines)


def flags_text(flags: Mapping[str, float]) -> str:
    """List the labels for which pictures were flagged, the most certain first."""
    return ", ".join(f"{label} {score:.0%}" for label, score in sorted(flags.items(), key=lambda flag: -flag[1]))


def _lacks_channel(server: Preferences, age_restricted: bool) -> bool:
    return server.moderators is None and _chosen_action(server, age_restricted) is FlaggedAction.REVIEW


def _chosen_action(server: Preferences, age_restricted: bool) -> FlaggedAction:
    if age_restricted:
        return server.flagged_restricted or DEFAULT_AGE_RESTRICTED_ACTION
    return server.flagged or DEFAULT_ACTION
