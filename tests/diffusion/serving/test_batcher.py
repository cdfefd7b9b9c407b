from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from diffusion.serving.batcher import Batcher


@dataclass(eq=False)
class Item:
    owner: str
    name: str = ""
    shape: str = "square"
    rows: int = 2
    left: int = 10


def filled(*items, max_rows=4):
    batcher = Batcher(max_rows)
    for item in items:
        batcher.add(item)
    return batcher


def test_nothing_to_do_gives_an_empty_batch():
    assert filled().next_batch() == []


def test_owners_take_turns_and_keep_their_own_order():
    items = [Item("flooder", str(number)) for number in range(3)] + [Item("modest", "only")]
    order = [(item.owner, item.name) for item in filled(*items).waiting()]
    assert order == [("flooder", "0"), ("modest", "only"), ("flooder", "1"), ("flooder", "2")]


def test_items_are_admitted_in_the_order_that_was_told():
    items = [Item("a", "1"), Item("a", "2"), Item("b", "3"), Item("c", "4"), Item("b", "5")]
    batcher = filled(*items, max_rows=2)
    told, admitted = list(batcher.waiting()), []
    while batch := batcher.next_batch():
        admitted += batch
        batcher.discard(batch[0])
    assert admitted == told


def test_a_flooder_who_keeps_coming_delays_another_by_one_item_only():
    batcher = filled(Item("flooder"), Item("flooder"), Item("flooder"), max_rows=2)
    running = batcher.next_batch()
    batcher.add(Item("modest", "mine"))
    batcher.discard(running[0])
    first = batcher.next_batch()
    batcher.add(Item("flooder"))
    batcher.discard(first[0])
    second = batcher.next_batch()
    assert "mine" in (first[0].name, second[0].name)


def test_rows_bound_what_runs_together():
    batcher = filled(*[Item(str(number)) for number in range(5)])
    assert len(batcher.next_batch()) == 2
    assert len(list(batcher.waiting())) == 3


def test_after_the_bound_was_lowered_running_items_take_turns():
    items = [Item(str(number)) for number in range(3)]
    batcher = filled(*items, max_rows=6)
    assert batcher.next_batch() == items
    batcher.max_rows = 4
    batches = [batcher.next_batch() for _ in range(3)]
    assert [len(batch) for batch in batches] == [2, 2, 2]
    assert all(sum(item in batch for batch in batches) == 2 for item in items)


def test_a_newcomer_joins_the_running_batch():
    batcher = filled(Item("a"))
    assert len(batcher.next_batch()) == 1
    batcher.add(Item("b"))
    assert [item.owner for item in batcher.next_batch()] == ["a", "b"]


def test_an_item_larger_than_the_bound_runs_alone():
    batcher = filled(Item("a", rows=9), Item("b"))
    assert [item.owner for item in batcher.next_batch()] == ["a"]


def test_shapes_never_mix_and_take_turns():
    batcher = filled(Item("a"), Item("b", shape="wide"), max_rows=8)
    shapes = [{item.shape for item in batcher.next_batch()} for _ in range(4)]
    assert shapes == [{"square"}, {"wide"}, {"square"}, {"wide"}]


def test_discarding_frees_the_place_whether_the_item_waits_runs_or_is_gone():
    running, waiting = Item("a"), Item("b")
    batcher = filled(running, waiting, max_rows=2)
    batcher.next_batch()
    batcher.discard(waiting)
    batcher.discard(running)
    batcher.discard(running)
    assert len(batcher) == 0
    assert batcher.next_batch() == []


def test_once_closed_the_last_ones_are_finished_and_nothing_else_is_admitted():
    running, last, waiting = Item("a", "1"), Item("a", "2"), Item("b", "3")
    batcher = filled(running, waiting, last, max_rows=2)
    assert batcher.next_batch() == [running]
    batcher.close([running, last])
    batches = [batcher.next_batch() for _ in range(4)]
    assert batches == [[running], [last]] * 2 or batches == [[last], [running]] * 2
    for item in (running, last):
        batcher.discard(item)
    assert batcher.next_batch() == []
    assert list(batcher.waiting()) == [waiting]


def test_a_short_item_joins_a_long_one_at_once_and_they_take_turns():
    long, short = Item("a", left=50), Item("b", left=10)
    batcher = filled(long, max_rows=2)
    batcher.next_batch()
    batcher.add(short)
    assert [batcher.next_batch() for _ in range(4)] in ([[long], [short]] * 2, [[short], [long]] * 2)


def test_short_items_go_past_a_long_one_that_waits_but_it_gets_the_room_that_comes_free():
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


def test_nobody_who_waits_sees_two_short_items_of_another_go_first():
    running, waiting = Item("a", left=50), Item("b", left=50)
    batcher = filled(running, waiting, *[Item("flooder", str(number), left=5) for number in range(3)], max_rows=2)
    batcher.next_batch()
    guest = next(item for item in batcher.running() if item.owner == "flooder")
    batcher.discard(guest)
    batcher.next_batch()
    assert list(batcher.running()) == [running]
    batcher.discard(running)
    batcher.next_batch()
    assert {item.owner for item in batcher.running()} == {"b", "flooder"}


def test_who_has_left_the_queue_holds_nobody_back():
    running, waiting = Item("a", left=50), Item("b", left=50)
    batcher = filled(running, waiting, Item("c", "1", left=5), Item("c", "2", left=5), max_rows=2)
    batcher.next_batch()
    first = next(item for item in batcher.running() if item.owner == "c")
    batcher.discard(first)
    batcher.next_batch()
    assert list(batcher.running()) == [running]
    batcher.discard(waiting)
    batcher.next_batch()
    assert {item.name for item in batcher.running()} == {"", "2"}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from((3, 20)), st.integers(0, 3)), max_size=40))
def test_whoever_waits_sees_at_most_one_item_of_each_other_begin(coming):
    batcher, seen, before = Batcher(4), {}, set()
    for owner, left, steps in [*coming, ("a", 3, 500)]:
        batcher.add(Item(owner, left=left))
        for _ in range(steps):
            batch, running = batcher.next_batch(), set(batcher.running())
            begun, before = Counter(item.owner for item in running - before), running
            waiting = {item.owner for item in batcher.waiting()}
            seen = {owner: Counter() if begun[owner] else seen.get(owner, Counter()) + begun for owner in waiting}
            assert all(count <= 1 for others in seen.values() for count in others.values())
            assert sum(item.rows for item in batch) <= 4
            for item in batch:
                item.left -= 1
                if not item.left:
                    batcher.discard(item)
    assert len(batcher) == 0
