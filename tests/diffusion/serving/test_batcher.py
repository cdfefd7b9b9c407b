from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.serving.batcher import Batcher
from diffusion.serving.lanes import Lane
from diffusion.serving.latency import LatencyModel
from diffusion.serving.price import Prices, Work
from tests.support.items import Item

SQUARE, WIDE = (1, 4, 4, 4), (1, 4, 2, 8)  # of one price
CHEAP = (1, 4, 1, 1)


def filled(*items, max_rows=4):
    batcher = Batcher(max_rows)
    for item in items:
        batcher.add(item)
    return batcher


def test_next_batch_is_empty_without_items():
    assert filled().next_batch() == []


def test_admit_alternates_between_owners():
    items = [Item("flooder", str(number)) for number in range(3)] + [Item("modest", "only")]
    order = [(item.owner, item.name) for item in filled(*items).waiting()]
    assert order == [("flooder", "0"), ("modest", "only"), ("flooder", "1"), ("flooder", "2")]


def test_waiting_yields_the_order_of_admission():
    items = [Item("a", "1"), Item("a", "2"), Item("b", "3"), Item("c", "4"), Item("b", "5")]
    batcher = filled(*items, max_rows=2)
    told, admitted = list(batcher.waiting()), []
    while batch := batcher.next_batch():
        admitted += batch
        batcher.discard(batch[0])
    assert admitted == told


def test_admit_lets_a_flooder_delay_others_by_one_item():
    batcher = filled(Item("flooder"), Item("flooder"), Item("flooder"), max_rows=2)
    running = batcher.next_batch()
    batcher.add(Item("modest", "mine"))
    batcher.discard(running[0])
    first = batcher.next_batch()
    batcher.add(Item("flooder"))
    batcher.discard(first[0])
    second = batcher.next_batch()
    assert "mine" in (first[0].name, second[0].name)


def test_admit_respects_max_rows():
    batcher = filled(*[Item(str(number)) for number in range(5)])
    assert len(batcher.next_batch()) == 2
    assert len(list(batcher.waiting())) == 3


def test_next_batch_alternates_after_max_rows_was_lowered():
    items = [Item(str(number)) for number in range(3)]
    batcher = filled(*items, max_rows=6)
    assert batcher.next_batch() == items
    batcher.max_rows = 4
    batches = [batcher.next_batch() for _ in range(3)]
    assert [len(batch) for batch in batches] == [2, 2, 2]
    assert all(sum(item in batch for batch in batches) == 2 for item in items)


def test_admit_joins_newcomers_to_the_running_batch():
    batcher = filled(Item("a"))
    assert len(batcher.next_batch()) == 1
    batcher.add(Item("b"))
    assert [item.owner for item in batcher.next_batch()] == ["a", "b"]


def test_admit_runs_an_oversized_item_alone():
    batcher = filled(Item("a", rows=9, left=1), Item("b"))
    assert [item.owner for item in batcher.next_batch()] == ["a"]


def test_next_batch_alternates_between_shapes():
    batcher = filled(Item("a"), Item("b", shape=WIDE), max_rows=8)
    shapes = [{item.shape for item in batcher.next_batch()} for _ in range(4)]
    assert shapes == [{SQUARE}, {WIDE}, {SQUARE}, {WIDE}]


def test_discard_removes_waiting_running_and_gone_items():
    running, waiting = Item("a"), Item("b")
    batcher = filled(running, waiting, max_rows=2)
    batcher.next_batch()
    batcher.discard(waiting)
    batcher.discard(running)
    batcher.discard(running)
    assert len(batcher) == 0
    assert batcher.next_batch() == []


def test_closed_lane_admits_the_last_items_only():
    lane = Lane(is_open=True)
    running, last, waiting = Item("a", "1", lane=lane), Item("a", "2", lane=lane), Item("b", "3", lane=lane)
    batcher = filled(running, waiting, last, max_rows=2)
    assert batcher.next_batch() == [running]
    lane.close()
    batcher.admit_beyond([running, last])
    batches = [batcher.next_batch() for _ in range(4)]
    assert batches == [[running], [last]] * 2 or batches == [[last], [running]] * 2
    for item in (running, last):
        batcher.discard(item)
    assert batcher.next_batch() == []
    assert list(batcher.waiting()) == [waiting]


def test_admit_backfills_a_short_item():
    long, short = Item("a", left=50), Item("b", left=10)
    batcher = filled(long, max_rows=2)
    batcher.next_batch()
    batcher.add(short)
    assert [batcher.next_batch() for _ in range(4)] in ([[long], [short]] * 2, [[short], [long]] * 2)


def test_admit_gives_free_room_to_a_bypassed_long_item():
    running, waiting = Item("a", left=50), Item("b", left=50)
    batcher = filled(running, waiting, max_rows=2)
    batcher.next_batch()
    guests = [Item(owner, left=5) for owner in "cdef"]
    for guest in guests:
        batcher.add(guest)
    batcher.next_batch()
    assert set(batcher.running()) == {running, guests[0]}  # guests have as many rows as the others
    batcher.discard(running)
    batcher.next_batch()
    assert waiting in batcher.running()
    batcher.discard(guests[0])
    batcher.next_batch()
    assert guests[1] in batcher.running()


def test_admit_bypasses_a_waiting_owner_once_per_other_owner():
    running, waiting = Item("a", left=50), Item("b", left=50, shape=CHEAP)
    batcher = filled(running, max_rows=2)
    batcher.next_batch()
    for item in (waiting, *[Item("flooder", str(number), left=5) for number in range(3)]):
        batcher.add(item)
    batcher.next_batch()
    guest = next(item for item in batcher.running() if item.owner == "flooder")
    batcher.discard(guest)
    batcher.next_batch()
    assert list(batcher.running()) == [running]
    batcher.discard(running)
    batcher.next_batch()
    assert {item.owner for item in batcher.running()} == {"b", "flooder"}


def test_discard_clears_the_bypasses_of_its_owner():
    running, waiting = Item("a", left=50), Item("b", left=50, shape=CHEAP)
    batcher = filled(running, max_rows=2)
    batcher.next_batch()
    for item in (waiting, Item("c", "1", left=5), Item("c", "2", left=5)):
        batcher.add(item)
    batcher.next_batch()
    first = next(item for item in batcher.running() if item.owner == "c")
    batcher.discard(first)
    batcher.next_batch()
    assert list(batcher.running()) == [running]
    batcher.discard(waiting)
    batcher.next_batch()
    assert {item.name for item in batcher.running()} == {"", "2"}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from((3, 20)), st.integers(0, 3)), max_size=40))
def test_admit_lets_no_owner_pass_by_more_than_costs_in_random_traffic(coming):
    batcher, passed, before = Batcher(4), {}, set()
    dearest = batcher.prices.price(Work(SQUARE, 2 * 20))
    for owner, left, steps in [*coming, ("a", 3, 500)]:
        batcher.add(Item(owner, left=left))
        for _ in range(steps):
            heads = {}
            for item in batcher.waiting():
                heads.setdefault(item.owner, item)
            batch, running = batcher.next_batch(), set(batcher.running())
            begun, before = running - before, running
            for waiting, head in heads.items():
                if waiting in {item.owner for item in begun}:
                    passed[waiting] = Counter()
                    continue
                for item in begun:
                    passed.setdefault(waiting, Counter())[item.owner] += batcher.prices.price(Work(SQUARE, 2 * item.left))
                most = batcher.prices.price(Work(SQUARE, 2 * head.left)) + 2 * dearest
                assert all(seconds <= most * 1.001 for seconds in passed.get(waiting, {}).values())
            assert sum(item.rows for item in batch) <= 4
            for item in batch:
                item.left -= 1
                if not item.left:
                    batcher.discard(item)
    assert len(batcher) == 0


# A default picture takes 0.1 s a step, and a row of the large one 4 s, as measured for 128 and 1024 pixels a side on two cores.
SMALL, MIDDLE, LARGE = (1, 4, 16, 16), (1, 4, 64, 64), (1, 4, 128, 128)
LATENCY = LatencyModel()
for shape, seconds in ((SMALL, 0.05), (LARGE, 4.0)):
    for rows in (1, 1, 2, 8):
        LATENCY.observe(shape, rows, seconds * rows)


def wait_of_small_beside_large(steps_before, large):
    """Return the seconds that a default picture takes which comes after some steps of ``large`` pictures."""
    batcher, now = Batcher(16, Prices(LATENCY)), 0.0
    for number in range(large):
        batcher.add(Item("a", str(number), shape=LARGE, left=299))
    small = Item("b", shape=SMALL, left=12)
    step = 0
    while small.left:
        batch = batcher.next_batch()
        if step == steps_before:
            batcher.add(small)  # while a call of the large ones is under way
            came = now
        now += LATENCY.seconds(batch[0].shape, sum(item.rows for item in batch))
        step += 1
        for item in batch:
            item.left -= 1
    return now - came


@pytest.mark.parametrize("large", [1, 4])
def test_small_picture_waits_alike_whenever_it_comes_beside_large_ones(large):
    waits = [wait_of_small_beside_large(steps_before, large) for steps_before in range(1, 12)]
    alone, one_large_call = 12 * 0.1, 2 * 4.0
    assert max(waits) <= (alone + one_large_call) * 1.001 and max(waits) - min(waits) <= one_large_call


def test_groups_share_the_seconds_of_their_owners():
    """One owner has pictures of two sizes, another has one size: each gets half of the time."""
    batcher, seconds = Batcher(16, Prices(LATENCY)), Counter()
    for owner, shape in (("a", SMALL), ("a", LARGE), ("b", MIDDLE)):
        batcher.add(Item(owner, shape=shape, left=10**6))
    while seconds.total() < 2000:
        (item,) = batcher.next_batch()
        seconds[item.owner] += LATENCY.seconds(item.shape, item.rows)
    assert seconds["a"] == pytest.approx(seconds["b"], rel=0.05)
