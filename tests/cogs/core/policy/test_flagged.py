import itertools

import pytest

from cogs.core.policy.flagged import action_for, flags_text, rule_text
from cogs.core.request.preferences import FlaggedAction, Preferences


@pytest.mark.parametrize(
    ("rules", "normal", "restricted"),
    [
        ({}, FlaggedAction.REFUSE, FlaggedAction.SPOILER),
        ({"moderators": 1}, FlaggedAction.REVIEW, FlaggedAction.SPOILER),
        ({"flagged": FlaggedAction.ALLOW}, FlaggedAction.ALLOW, FlaggedAction.SPOILER),
        (
            {"flagged": FlaggedAction.SPOILER, "flagged_restricted": FlaggedAction.REFUSE},
            FlaggedAction.SPOILER,
            FlaggedAction.REFUSE,
        ),
        ({"flagged_restricted": FlaggedAction.REVIEW}, FlaggedAction.REFUSE, FlaggedAction.REFUSE),
        ({"flagged_restricted": FlaggedAction.REVIEW, "moderators": 1}, FlaggedAction.REVIEW, FlaggedAction.REVIEW),
    ],
)
def test_each_kind_of_channel_has_its_rule(rules, normal, restricted):
    server = Preferences(**rules)
    assert (action_for(server, False), action_for(server, True)) == (normal, restricted)


@pytest.mark.parametrize("age_restricted", [False, True])
def test_in_direct_messages_flagged_pictures_are_refused(age_restricted):
    assert action_for(None, age_restricted) is FlaggedAction.REFUSE


def test_nothing_is_ever_held_without_a_channel_for_it():
    for rule, restricted, age_restricted in itertools.product([None, *FlaggedAction], [None, *FlaggedAction], [False, True]):
        server = Preferences(flagged=rule, flagged_restricted=restricted)
        assert action_for(server, age_restricted) is not FlaggedAction.REVIEW
        assert ("Reviews need a channel" in rule_text(server)) == (FlaggedAction.REVIEW in (rule or "review", restricted))


def test_flags_are_worded_with_the_surest_first():
    assert flags_text({"porn": 0.512, "hentai": 0.98}) == "hentai 98%, porn 51%"
