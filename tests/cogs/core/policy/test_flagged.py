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
def test_action_for_follows_the_rule_of_the_channel(rules, normal, restricted):
    server = Preferences(**rules)
    assert (action_for(server, False), action_for(server, True)) == (normal, restricted)


@pytest.mark.parametrize("age_restricted", [False, True])
def test_action_for_direct_messages_is_refuse(age_restricted):
    assert action_for(None, age_restricted) is FlaggedAction.REFUSE


def test_action_for_never_reviews_without_a_review_channel():
    for rule, restricted, age_restricted in itertools.product([None, *FlaggedAction], [None, *FlaggedAction], [False, True]):
        server = Preferences(flagged=rule, flagged_restricted=restricted)
        assert action_for(server, age_restricted) is not FlaggedAction.REVIEW
        assert ("no channel is set for reviews, so they are not shown" in rule_text(server)) == (
            FlaggedAction.REVIEW in (rule or "review", restricted)
        )


def test_flags_text_lists_the_highest_score_first():
    assert flags_text({"porn": 0.512, "hentai": 0.98}) == "hentai 98%, porn 51%"
