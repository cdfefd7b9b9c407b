import random
from dataclasses import dataclass, field
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.serving.routing import TOGETHER, TURN, choose, wait

SQUARE, WIDE = ("sd", (1, 4, 64, 64)), ("sd", (1, 4, 64, 96))
OTHER_MODEL = ("xl", (1, 4, 64, 64))

keys = st.sampled_from([SQUARE, WIDE, OTHER_MODEL])


@dataclass(eq=False)
class Replica:
    queued: float = 0.0
    keys: frozenset = field(default_factory=frozenset)


some = st.lists(st.builds(Replica, st.integers(0, 1000), st.frozensets(keys)), min_size=1, max_size=8)
chances = st.integers(0, 2**32).map(random.Random)


class Watched(random.Random):
    """Remembers what was drawn."""

    drawn = ()

    def sample(self, population, k):
        chosen = super().sample(population, k)
        self.drawn = [*self.drawn, *chosen]
        return chosen


@given(some, keys)
def test_nothing_that_was_drawn_waits_less_than_what_is_chosen_but_for_the_share_that_keeps_shapes_together(replicas, key):
    chance = Watched(0)
    chosen = choose(replicas, key, chance)
    for other in chance.drawn:
        bound = 1 + TOGETHER if key in chosen.keys and key not in other.keys else 1
        assert wait(chosen, key) <= wait(other, key) * bound


@given(some, keys)
def test_at_most_two_of_all_and_two_of_those_that_step_the_same_are_looked_at(replicas, key):
    chance = Watched(0)
    assert choose(replicas, key, chance) in chance.drawn
    kin = [replica for replica in replicas if key in replica.keys]
    assert len(chance.drawn) == min(2, len(kin)) + min(2, len(replicas))


@given(st.integers(0, 1000), st.integers(0, 1000), chances)
def test_of_two_that_step_the_same_the_shorter_is_chosen(one, other, chance):
    pair = [Replica(one, frozenset({SQUARE})), Replica(other, frozenset({SQUARE}))]
    assert choose(pair, SQUARE, chance).queued == min(one, other)


@given(st.integers(1, 1000), st.integers(1, 1000), chances)
def test_a_longer_queue_of_the_same_is_preferred_just_as_long_as_it_is_not_much_the_longer_wait(same, stranger, chance):
    kin, other = Replica(same, frozenset({SQUARE})), Replica(stranger, frozenset({WIDE}))
    bound = stranger * (1 + TURN) * (1 + TOGETHER)
    assert choose([other, kin], SQUARE, chance) is (kin if same <= bound else other)


def test_each_shape_that_takes_turns_lengthens_the_wait():
    waits = [
        wait(Replica(100, frozenset(shapes)), SQUARE) for shapes in ((SQUARE,), (WIDE,), (SQUARE, WIDE), (WIDE, OTHER_MODEL))
    ]
    assert waits == pytest.approx([100, 100 * (1 + TURN), 100 * (1 + TURN), 100 * (1 + 2 * TURN)])


@given(st.integers(1, 1000), chances)
def test_an_empty_replica_is_never_passed_over_for_company(queued, chance):
    empty = Replica()
    assert choose([Replica(queued, frozenset({SQUARE})), empty], SQUARE, chance) is empty


@given(chances)
def test_another_model_of_the_same_shape_is_no_company(chance):
    kin, stranger = Replica(100, frozenset({SQUARE})), Replica(100, frozenset({OTHER_MODEL}))
    assert choose([stranger, kin], SQUARE, chance) is kin


def test_equals_are_chosen_equally_often():
    replicas, chance = [Replica() for _ in range(4)], random.Random(0)
    chosen = [choose(replicas, SQUARE, chance) for _ in range(4000)]
    assert all(chosen.count(replica) == pytest.approx(1000, rel=0.15) for replica in replicas)


def test_one_replica_gets_everything_and_none_is_an_error():
    only = Replica(10**9, frozenset({WIDE}))
    assert choose([only], SQUARE, random.Random(0)) is only
    with pytest.raises(ValueError, match="no replica"):
        choose([], SQUARE, random.Random(0))


def spread(route, chance):
    """Send mixed requests to ten replicas that work off about as much; tell how far the longest queue is above the mean."""
    replicas, above = [Replica() for _ in range(10)], []
    for _ in range(4000):
        key = chance.choices([SQUARE, WIDE, OTHER_MODEL], [6, 3, 1])[0]
        rows = chance.choice([10, 25, 50, 400])
        chosen = route(replicas, key, chance)
        chosen.queued, chosen.keys = chosen.queued + rows, chosen.keys | {key}
        for replica in replicas:
            replica.queued = max(0, replica.queued - 12)
            replica.keys = replica.keys if replica.queued else frozenset()
        above.append(max(replica.queued for replica in replicas) - mean(replica.queued for replica in replicas))
    return mean(above)


def test_in_the_long_run_queues_are_far_more_even_than_by_chance():
    by_chance = spread(lambda replicas, key, chance: chance.choice(replicas), random.Random(1))
    assert spread(choose, random.Random(1)) < by_chance / 3


def test_a_rare_shape_keeps_to_few_replicas_while_their_queues_are_like_the_others():
    replicas, chance = [Replica(1000, frozenset({SQUARE})) for _ in range(20)], random.Random(0)
    for _ in range(15):
        chosen = choose(replicas, WIDE, chance)
        chosen.queued, chosen.keys = chosen.queued + 50, chosen.keys | {WIDE}
    assert sum(WIDE in replica.keys for replica in replicas) <= 6
