from dataclasses import dataclass

import pytest

from diffusion.serving.batcher import Batcher
from diffusion.serving.forecast import estimate_completion
from diffusion.serving.latency import SATURATION, LatencyModel
from diffusion.serving.price import Prices

SMALL, LARGE = (1, 4, 4, 4), (1, 4, 8, 8)


@dataclass(eq=False)
class Item:
    left: int = 10
    owner: str = "anybody"
    shape: tuple[int, ...] = SMALL
    rows: int = 2

    lane = network = None
    decoding = None

    @property
    def group(self):
        return self.shape


def filled(*items, max_rows=4):
    batcher = Batcher(max_rows)
    for item in items:
        batcher.add(item)
    return batcher


def learned(*calls):
    latency = LatencyModel()
    for shape, rows, seconds in calls:
        latency.observe(shape, rows, seconds)
    return latency


def steady(seconds_a_row=0.01):
    """A machine that takes the same time for every row."""
    return learned(*[(SMALL, rows, rows * seconds_a_row) for rows in (2, 2, 4, 4)])


def played(items, max_rows, latency):
    """Let the batcher really give out the steps, and note when each item ends."""
    batcher, now, ends = Batcher(max_rows, Prices(latency)), 0.0, {}
    for item in items:
        batcher.add(item)
    while batch := batcher.next_batch():
        now += latency.seconds(batch[0].shape, sum(item.rows for item in batch))
        for item in batch:
            item.left -= 1
            if not item.left:
                ends[item] = now
                batcher.discard(item)
    return ends


def test_seconds_is_none_before_any_call():
    latency = learned((SMALL, 2, 9.0))  # the first warms up
    assert latency.seconds(SMALL, 2) is None
    assert list(estimate_completion(filled(Item()), latency).values()) == [None]


def test_seconds_of_proportional_calls():
    assert steady(0.01).seconds(SMALL, 8) == pytest.approx(0.08)


def test_seconds_of_constant_calls():
    latency = learned(*[(SMALL, rows, 0.05) for rows in (2, 2, 8, 2, 8)])
    assert latency.seconds(SMALL, 16) == pytest.approx(0.05)


def test_seconds_never_fall_with_rows():
    latency = learned((SMALL, 2, 1.0), (SMALL, 2, 0.5), (SMALL, 8, 0.1))
    assert latency.seconds(SMALL, 16) >= latency.seconds(SMALL, 2) > 0


def test_saturation_rows_grows_with_fixed_cost():
    busy, idle = learned(*[(SMALL, rows, 0.01 * rows) for rows in (2, 2, 8)]), learned(*[(SMALL, 2, 1.0)] * 3)
    assert busy.saturation_rows(SMALL) == pytest.approx(0, abs=1e-6)  # a row alone is as fast as any number
    assert idle.saturation_rows(SMALL) is None  # nothing to compare with
    some = learned(*[(SMALL, rows, 0.06 + 0.02 * rows) for rows in (2, 2, 8, 4)])
    rows = some.saturation_rows(SMALL)
    assert rows / some.seconds(SMALL, rows) == pytest.approx(SATURATION / 0.02)


def test_small_calls_do_not_hide_what_large_ones_gain():
    calls = {1: 0.008, 2: 0.011, 4: 0.025, 8: 0.038, 16: 0.067}  # of the embedded model
    latency = learned((SMALL, 1, 1.0), *[(SMALL, rows, seconds) for rows, seconds in calls.items()])
    for _ in range(50):
        latency.observe(SMALL, 2, calls[2])
        latency.observe(SMALL, 4, calls[4])  # more per row, which alone would say that larger ones gain nothing
    assert latency.saturation_rows(SMALL) > 8


def test_neighbouring_numbers_of_rows_say_nothing_of_larger_ones():
    latency = learned(*[(SMALL, rows, seconds) for rows, seconds in ((3, 1.0), (3, 0.022), (2, 0.012))])  # 3 are filled up to 4
    assert latency.saturation_rows(SMALL) is None
    latency.observe(SMALL, 4, 0.022)
    assert latency.saturation_rows(SMALL) > 4


def test_numbers_of_rows_that_do_not_come_again_are_forgotten():
    latency = learned(*[(SMALL, rows, 0.1 * rows) for rows in (2, 2, 16)])  # a machine that was busy
    assert latency.saturation_rows(SMALL) == pytest.approx(0, abs=1e-6)
    for _ in range(1000):
        latency.observe(SMALL, 2, 0.2)
    assert latency.saturation_rows(SMALL) is None  # larger ones are tried again


def test_seconds_of_an_unknown_shape_scale_with_its_size():
    assert steady(0.01).seconds(LARGE, 2) == pytest.approx(0.08)


def test_observe_forgets_old_calls():
    latency = learned(*[(SMALL, 2, 5.0)] * 50, *[(SMALL, 2, 0.02)] * 200)
    assert latency.seconds(SMALL, 2) == pytest.approx(0.02, rel=0.1)


def test_estimate_completion_runs_one_after_another_without_room():
    first, second = Item(10), Item(6)
    assert estimate_completion(filled(first, second, max_rows=2), steady()) == pytest.approx({first: 0.2, second: 0.32})


def test_estimate_completion_lets_short_items_go_first():
    first, second = Item(10), Item(5, "another")
    assert estimate_completion(filled(first, second, max_rows=2), steady()) == pytest.approx({first: 0.3, second: 0.1})


def test_estimate_completion_runs_an_oversized_item_alone():
    large, other = Item(1, rows=9), Item(1)
    assert estimate_completion(filled(large, other), steady()) == pytest.approx({large: 0.09, other: 0.11})


@pytest.mark.parametrize("max_rows", [2, 4, 6, 64])
def test_estimate_completion_comes_true_without_newcomers(max_rows):
    items = [
        Item(20 + 7 * number % 11, owner, shape, rows)
        for number, (owner, shape, rows) in enumerate(
            (owner, shape, rows) for owner in "abc" for shape in (SMALL, LARGE) for rows in (1, 2)
        )
    ]
    latency = steady()
    batcher = Batcher(max_rows, Prices(latency))
    for item in items:
        batcher.add(item)
    told = estimate_completion(batcher, latency)
    assert len(batcher) == len(items) and not list(batcher.running())  # it was only played
    assert set(told) == set(items)
    came = played(items, max_rows, latency)
    turn = 0.05 * max(came.values())  # whose turn comes first within a step is not played
    assert all(abs(told[item] - came[item]) <= turn for item in items)
