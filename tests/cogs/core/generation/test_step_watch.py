"""A request that crashes the process is found by halving the suspects; nobody else is blamed."""

import math
from types import SimpleNamespace

import pytest

from cogs.core.generation.step_watch import COMPANY_CRASHES, LONE_CRASHES, Blame
from cogs.core.storage.step_journal import StepJournal, StepRecord


def restarts_until_found(count, poison):
    """Let the poisonous one of ``count`` requests crash every step that it is in; return crashes and who was blamed last."""
    blame, crashes = Blame(), 0
    while not blame.guilty:
        company = blame.companies.get(poison)
        step = [request for request in range(count) if blame.companies.get(request) == company]
        blame, crashes = blame.after_crash(step), crashes + 1
    return crashes, blame.guilty


@pytest.mark.parametrize("count", [1, 2, 9, 33, 100])
def test_poison_is_found_in_a_logarithm_of_restarts(count):
    halvings = math.ceil(math.log2(count))
    found = [restarts_until_found(count, poison) for poison in range(count)]
    assert [guilty for _, guilty in found] == [{poison} for poison in range(count)]
    most = max(crashes for crashes, _ in found)
    print(f"\n| {count} | {halvings} | {most} |", end="")
    assert most <= max(5, COMPANY_CRASHES + halvings + LONE_CRASHES - 1)


def test_first_crash_makes_no_suspects():
    assert Blame().after_crash([1, 2]).companies == {}


def test_second_crash_makes_suspects_of_those_in_both_steps():
    blame = Blame().after_crash([1, 2, 3]).after_crash([2, 3, 4])
    assert blame.companies == {2: 1, 3: 2}


def test_crash_outside_of_steps_blames_nobody():
    blame = Blame().after_crash([1])
    assert blame.after_crash([]) == blame


def test_request_that_ended_is_blamed_no_more():
    blame = Blame().after_crash([1, 2]).after_crash([1, 2]).without(1)
    assert blame.companies == {2: 1}


def test_journal_keeps_the_latest_step(tmp_path):
    journal = StepJournal(tmp_path / "step.json")
    assert journal.read() == StepRecord()
    journal.crashes = {1: 2}
    journal.write([SimpleNamespace(label=id) for id in (1, 2, 3)])
    assert StepJournal(tmp_path / "step.json").read() == StepRecord([1, 2, 3], {1: 2}, {})
    journal.crashes = {}
    journal.write([SimpleNamespace(label=4)])
    assert StepJournal(tmp_path / "step.json").read() == StepRecord([4], {}, {})
    assert (tmp_path / "step.json").stat().st_mode & 0o077 == 0
    journal.close()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": [null]}', '{"crashes": {"a": 1}}'])
def test_journal_that_is_damaged_counts_as_empty(tmp_path, content):
    (tmp_path / "step.json").write_text(content)
    assert StepJournal(tmp_path / "step.json").read() == StepRecord()
