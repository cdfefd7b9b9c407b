"""Which way of calling a network is chosen for a number of rows."""

import pytest

from diffusion.backends.speed import Speeds, measure

PAIRED = frozenset({"in pairs"})


@pytest.mark.parametrize(
    ("rows", "way"),
    [
        pytest.param(1, "alone", id="one row has no pair"),
        pytest.param(2, "in pairs", id="measured"),
        pytest.param(3, "alone", id="an odd row waits for the larger half"),
        pytest.param(6, "in pairs", id="between two measurements"),
        pytest.param(8, "eager", id="the largest measurement"),
        pytest.param(40, "eager", id="beyond it, in proportion"),
    ],
)
def test_fastest_way_depends_on_the_rows(rows, way):
    seconds = {"eager": {1: 5, 2: 6, 8: 10}, "alone": {1: 1, 2: 3.2, 8: 15}, "in pairs": {2: 2.8, 8: 11}}
    assert Speeds(seconds, PAIRED).fastest(rows) == way


def test_speeds_survive_json():
    speeds = Speeds({"eager": {1: 0.5, 2: 1.0}, "in pairs": {2: 0.75}}, PAIRED)
    assert Speeds.from_json(speeds.to_json(), PAIRED) == speeds


def test_measure_calls_each_way_with_each_number_of_rows():
    calls = {"eager": set(), "in pairs": set()}
    speeds = measure({way: rows.add for way, rows in calls.items()}, PAIRED)
    assert calls == {"eager": {1, 2, 8}, "in pairs": {2, 8}}
    assert {way: set(known) for way, known in speeds.seconds.items()} == calls


def test_measure_leaves_out_large_calls_of_slow_networks(monkeypatch):
    now = 0.0

    def call(rows):
        nonlocal now
        now += 4.0 * rows

    monkeypatch.setattr("diffusion.backends.speed.time.perf_counter", lambda: now)
    speeds = measure({"eager": call, "alone": call})
    assert speeds.seconds == {"eager": {1: 4.0}, "alone": {1: 4.0}}
