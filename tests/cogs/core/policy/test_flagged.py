import itertools

import pytest

from cogs.core.policy.flagged import flags_text, rule_text, verdict
from cogs.core.request.preferences import Preferences, Verdict


@pytest.mark.parametrize(
    ("rules", "normal", "restricted"),
    [
        ({}, Verdict.REFUSE, Verdict.SPOILER),
        ({"moderators": 1}, Verdict.HOLD, Verdict.SPOILER),
        ({"flagged": Verdict.ALLOW}, Verdict.ALLOW, Verdict.SPOILER),
        ({"flagged": Verdict.SPOILER, "flagged_restricted": Verdict.REFUSE}, Verdict.SPOILER, Verdict.REFUSE),
        ({"flagged_restricted": Verdict.HOLD}, Verdict.REFUSE, Verdict.REFUSE),
        ({"flagged_restricted": Verdict.HOLD, "moderators": 1}, Verdict.HOLD, Verdict.HOLD),
    ],
)
def test_each_kind_of_channel_has_its_rule(rules, normal, restricted):
    server = Preferences(**rules)
    assert (verdict(server, False), verdict(server, True)) == (normal, restricted)


@pytest.mark.parametrize("age_restricted", [False, True])
def test_in_direct_messages_flagged_pictures_are_refused(age_restricted):
    assert verdict(None, age_restricted) is Verdict.REFUSE


def test_nothing_is_ever_held_without_a_channel_for_it():
    for rule, restricted, age_restricted in itertools.product([None, *Verdict], [None, *Verdict], [False, True]):
        server = Preferences(flagged=rule, flagged_restricted=restricted)
        assert verdict(server, age_restricted) is not Verdict.HOLD
        assert ("there is no channel for it" in rule_text(server)) == (Verdict.HOLD in (rule or "hold", restricted))


def test_flags_are_worded_with_the_surest_first():
    assert flags_text({"porn": 0.512, "hentai": 0.98}) == "hentai 98%, porn 51%"
