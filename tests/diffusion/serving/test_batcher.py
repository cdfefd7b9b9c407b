from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.serving import batcher as batcher_module
from diffusion.serving.batcher import PREEMPTION_ROOM, Batcher
from diffusion.serving.lanes import Lane
from diffusion.serving.latency import LatencyModel
from diffusion.serving.price import INITIAL_ROWS, MAX_ROWS, MIN_ROWS, Prices, Work
from tests.support.items import Item

SQUARE, WIDE = (1, 4, 4, 4), (1, 4, 2, 8)  # of one price
CHEAP = (1, 4, 1, 1)

# A default picture takes 0.1 s a step, and a row of the large one 4 s, as measured for 128 and 1024 pixels a side on two cores.
SMALL, MIDDLE, LARGE = (1, 4, 16, 16), (1, 4, 64, 64), (1, 4, 128, 128)
LATENCY = LatencyModel()
for shape, seconds in ((SMALL, 0.05), (LARGE, 4.0)):
    for rows in (1, 1, 2, 8):
        LATENCY.observe(shape, rows, seconds * rows)


def filled(*items, max_rows=4):
    batcher = Batcher(max_rows)
    for item in items:
        batcher.add(item)
    return batcher


def step(batcher):
    """Step the next batch, and return it."""
    batch = batcher.next_batch()
    for item in batch:
        item.left -= 1
        if not item.left:
            batcher.discard(item)
    return batch


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


def test_admit_respects_max_rows():
    batcher = filled(*[Item(str(number)) for number in range(5)])
    assert len(batcher.next_batch()) == 2
    assert len(list(batcher.waiting())) == 3


def test_admit_joins_newcomers_to_the_running_batch():
    batcher = filled(Item("a"))
    assert len(batcher.next_batch()) == 1
    batcher.add(Item("b"))
    assert [item.owner for item in batcher.next_batch()] == ["a", "b"]


def test_admit_runs_an_oversized_item_alone():
    batcher = filled(Item("a", rows=9, left=1), Item("b"))
    assert [item.owner for item in batcher.next_batch()] == ["a"]


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
    assert batches == [[running]] * 4
    batcher.discard(running)
    assert batcher.next_batch() == [last]
    batcher.discard(last)
    assert batcher.next_batch() == []
    assert list(batcher.waiting()) == [waiting]


def test_admit_lets_a_flooder_delay_others_by_one_item():
    batcher = filled(*[Item("flooder", str(number)) for number in range(3)], max_rows=2)
    step(batcher)
    modest = Item("modest")
    batcher.add(modest)
    batches = [step(batcher) for _ in range(19)]
    assert [batch[0].owner for batch in batches] == ["flooder"] * 9 + ["modest"] * 10


def test_next_batch_goes_on_with_the_first_items_after_max_rows_was_lowered():
    items = [Item(str(number)) for number in range(3)]
    batcher = filled(*items, max_rows=6)
    assert step(batcher) == items
    batcher.max_rows = 4
    assert [step(batcher) for _ in range(9)] == [items[:2]] * 9
    assert step(batcher) == items[2:]


def test_next_batch_ends_one_shape_before_the_next():
    batcher = filled(Item("a", left=2), Item("b", left=2, shape=WIDE), max_rows=8)
    assert [step(batcher)[0].shape for _ in range(4)] == [SQUARE, SQUARE, WIDE, WIDE]


def test_short_item_pauses_long_ones():
    long, short = Item("a", left=50), Item("b", left=10)
    batcher = filled(long, max_rows=2)
    step(batcher)
    batcher.add(short)
    batches = [step(batcher) for _ in range(11)]
    assert batches == [[short]] * 10 + [[long]]


def test_item_that_is_nearly_done_is_not_paused():
    first, second = Item("a", left=10), Item("b", left=9)
    batcher = filled(first, max_rows=2)
    for _ in range(8):
        step(batcher)
    batcher.add(second)
    assert [step(batcher) for _ in range(3)] == [[first], [first], [second]]


def test_no_more_items_pause_than_there_is_room_for():
    batcher = filled(Item("a", left=50), max_rows=2)
    batcher.next_batch()
    for left in (40, 30, 20, 10, 5):
        batcher.add(Item(str(left), left=left))
        batcher.next_batch()
    assert len(list(batcher.running())) == PREEMPTION_ROOM
    assert [item.owner for item in batcher.waiting()] == ["10", "5"] or len(list(batcher.waiting())) == 2


def test_short_items_of_one_owner_do_not_pause_a_long_one_for_longer_than_it_takes():
    long = Item("a", left=50)
    batcher = filled(long, *[Item("flooder", str(number), left=5) for number in range(100)], max_rows=2)
    calls = 0
    while long.left:
        step(batcher)
        calls += 1
    assert calls <= 100


def test_cancelled_work_does_not_delay_its_owner():
    mistake, meant = Item("a", left=1000), Item("a", left=20)
    others = [Item("b", str(number), left=30) for number in range(3)]
    batcher = filled(mistake, *others, max_rows=2)
    batcher.next_batch()
    batcher.admit_beyond([mistake])
    batcher.discard(mistake)
    batcher.add(meant)
    assert [step(batcher)[0] for _ in range(60)] == [meant] * 20 + others[:1] * 30 + others[1:2] * 10


def test_postponed_item_comes_after_all_others():
    stuck, other, third = Item("a"), Item("b", shape=WIDE), Item("c")
    batcher = filled(stuck, other, third, max_rows=6)
    assert batcher.next_batch() == [stuck, third]
    batcher.postpone(stuck)
    assert batcher.next_batch() == [other]
    for item in (other, third):
        batcher.discard(item)
    assert batcher.next_batch() == [stuck]


def test_call_rows_are_as_many_as_are_useful_for_the_shape():
    """Extra rows cost nearly nothing for one shape, and as much as the first ones for the other."""
    latency = LatencyModel()
    for rows in (2, 2, 8, 16):
        latency.observe(CHEAP, rows, 0.05 + 0.001 * rows)
        latency.observe(SQUARE, rows, 0.1 * rows)
    batcher = Batcher(prices=Prices(latency))
    assert batcher.call_rows(Item("a", shape=CHEAP)) == MAX_ROWS
    assert batcher.call_rows(Item("a", shape=SQUARE)) == MIN_ROWS
    assert Batcher(4, Prices(latency)).call_rows(Item("a", shape=CHEAP)) == 4
    assert Batcher().call_rows(Item("a")) == INITIAL_ROWS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from((1, 3, 20)), st.integers(0, 4)), max_size=60))
def test_every_item_ends_within_a_bound_whatever_else_comes(coming):
    batcher, patient, calls = Batcher(4), Item("d", shape=WIDE), 0
    owners, longest = 4, 20
    for number, (owner, left, steps) in enumerate(coming):
        batcher.add(Item(owner, left=left))
        if number == len(coming) // 4:
            batcher.add(patient)
        for _ in range(steps):
            step(batcher)
            calls += patient in batcher.running() or patient in batcher.waiting()
    while len(batcher):
        assert step(batcher)
    assert calls <= owners * (10 + longest) + PREEMPTION_ROOM * 2 * longest


def test_no_owner_gets_much_more_than_a_fair_share_by_cost():
    """Drafts, long pictures and large ones of three owners who always have work, and a fourth who comes later."""
    batcher = Batcher(4, Prices(LATENCY))
    kinds = {"drafts": (SMALL, 6), "long": (SMALL, 300), "large": (MIDDLE, 20), "late": (SMALL, 50)}
    received, present = Counter(), ["drafts", "long", "large"]
    for number in range(1500):
        if number == 300:
            present.append("late")
            received.clear()
        for owner in present:
            if not any(item.owner == owner for item in (*batcher.running(), *batcher.waiting())):
                shape, left = kinds[owner]
                batcher.add(Item(owner, shape=shape, left=left))
        for item in step(batcher):
            received[item.owner] += item.rows * batcher.prices.row(item.shape)
    assert max(received.values()) <= 1.2 * received.total() / len(kinds)


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


def beside(*newcomers, large=None):
    """Return what runs beside the call of a ``large`` item that ``newcomers`` find under way."""
    large = large or Item("a", shape=LARGE, left=299, network="denoiser")
    batcher = Batcher(prices=Prices(LATENCY))
    batcher.add(large)
    batch = batcher.next_batch()
    for newcomer in newcomers:
        batcher.add(newcomer)
    return [item.name for item in batcher.next_beside(batch)]


def test_short_calls_of_another_network_run_beside_a_long_one():
    pair = [Item(name, name, shape=SMALL, rows=1, left=4, network="student") for name in "bc"]
    assert beside(*pair) == ["b", "c"]
    assert beside(Item("b", "b", shape=SMALL, rows=1, left=4, network="denoiser"), *pair[1:]) == ["c"]


def test_nothing_long_runs_beside_a_long_call():
    assert beside(Item("b", "b", shape=LARGE, rows=1, left=4, network="student")) == []
    many = [Item(str(number), str(number), shape=SMALL, rows=2, left=4, network="student") for number in range(40)]
    rows = 2 * len(beside(*many))
    assert 0 < LATENCY.seconds(SMALL, rows) <= batcher_module.SHORT_SHARE * LATENCY.seconds(LARGE, 2)


def test_nothing_runs_beside_what_is_due_before_it():
    nearly_done = Item("a", shape=LARGE, rows=1, left=1, network="denoiser")
    assert beside(Item("b", "b", shape=SMALL, rows=1, left=100, network="student"), large=nearly_done) == []


def test_only_long_calls_have_others_beside_them():
    batcher = Batcher(prices=Prices(LATENCY))
    assert not batcher.is_long([Item("a", shape=SMALL, rows=1)])
    assert batcher.is_long([Item("a", shape=LARGE, rows=1)])
