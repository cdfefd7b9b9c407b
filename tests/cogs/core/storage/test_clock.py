"""A clock that jumps deletes nothing by age."""

import os
import time

import pytest

from cogs.core.storage import clock
from cogs.core.storage.clock import MAX_PAUSE_SECONDS, TRUST_AFTER_SECONDS, ClockGuard
from cogs.core.storage.images import SECONDS_PER_DAY, ImageStore


class Clock:
    """Both clocks of the machine."""

    def __init__(self):
        self.wall = time.time()
        self.even = 1000.0

    def time(self):
        return self.wall

    def monotonic(self):
        return self.even

    def pass_by(self, seconds):
        self.wall += seconds
        self.even += seconds


@pytest.fixture
def machine(monkeypatch):
    machine = Clock()
    monkeypatch.setattr(clock, "time", machine)
    return machine


def test_clock_that_runs_evenly_is_trusted(machine):
    guard = ClockGuard()
    for _ in range(50):
        assert guard.is_trusted(machine.wall - 10)
        machine.pass_by(3600)


@pytest.mark.parametrize("jump", [31 * SECONDS_PER_DAY, -31 * SECONDS_PER_DAY, 600])
def test_clock_that_jumps_is_trusted_after_a_day(machine, jump):
    guard = ClockGuard()
    assert guard.is_trusted(machine.wall)
    machine.wall += jump
    assert not guard.is_trusted(machine.wall)
    machine.pass_by(TRUST_AFTER_SECONDS - 1)
    assert not guard.is_trusted(machine.wall)
    machine.pass_by(1)
    assert guard.is_trusted(machine.wall)


@pytest.mark.parametrize("age", [MAX_PAUSE_SECONDS + 1, -600])
def test_clock_that_is_wrong_at_the_start_is_trusted_after_a_day(machine, age):
    guard = ClockGuard()
    assert not guard.is_trusted(machine.wall - age)
    machine.pass_by(TRUST_AFTER_SECONDS)
    assert guard.is_trusted(machine.wall - age)


def test_clock_is_trusted_without_data():
    assert ClockGuard().is_trusted(None)


@pytest.mark.parametrize("is_first", [True, False], ids=["at the start", "later"])
async def test_prune_keeps_pictures_when_the_clock_is_31_days_ahead_for_one_round(tmp_path, monkeypatch, is_first):
    image_store = ImageStore(tmp_path)
    names = [await image_store.save(b"picture %d" % number) for number in range(3)]
    if not is_first:
        await image_store.prune()
    real = time.time
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: real() + 31 * SECONDS_PER_DAY)
        await image_store.prune()
    await image_store.prune()
    assert {path.stem for path in tmp_path.glob("*/*")} == set(names)


async def test_prune_deletes_by_size_also_when_the_clock_has_jumped(tmp_path):
    image_store = ImageStore(tmp_path, max_bytes=25)
    for number in range(3):
        name = await image_store.save(b"picture %d!" % number)
        os.utime(image_store._find(name), (number, number))
    await image_store.prune()
    assert [path.stem for path in tmp_path.glob("*/*")].count(name) == 1 and len(list(tmp_path.glob("*/*"))) == 2
