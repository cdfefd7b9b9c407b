import random
from dataclasses import dataclass, field
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.serving.routing import AFFINITY_SLACK, SHAPE_SWITCH_COST, choose, wait

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
def test_choose_prefers_shortest_wait_within_affinity_slack(replicas, key):
    rng = Watched(0)
    chosen = choose(replicas, key, rng)
    for other in rng.drawn:
        bound = 1 + AFFINITY_SLACK if key in chosen.keys and key not in other.keys else 1
        assert wait(chosen, key) <= wait(other, key) * bound


@given(some, keys)
def test_choose_compares_two_of_all_and_two_of_the_same_shape(replicas, key):
    rng = Watched(0)
    assert choose(replicas, key, rng) in rng.drawn
    same_shape = [replica for replica in replicas if key in replica.keys]
    assert len(rng.drawn) == min(2, len(same_shape)) + min(2, len(replicas))


@given(st.integers(0, 1000), st.integers(0, 1000), chances)
def test_choose_prefers_the_shorter_queue_of_the_same_shape(one, other, rng):
    pair = [Replica(one, frozenset({SQUARE})), Replica(other, frozenset({SQUARE}))]
    assert choose(pair, SQUARE, rng).queued == min(one, other)


@given(st.integers(1, 1000), st.integers(1, 1000), chances)
def test_choose_prefers_the_same_shape_up_to_the_slack(same, stranger, rng):
    same_shape, other = Replica(same, frozenset({SQUARE})), Replica(stranger, frozenset({WIDE}))
    bound = stranger * (1 + SHAPE_SWITCH_COST) * (1 + AFFINITY_SLACK)
    assert choose([other, same_shape], SQUARE, rng) is (same_shape if same <= bound else other)


def test_wait_grows_with_each_shape():
    waits = [
        wait(Replica(100, frozenset(shapes)), SQUARE) for shapes in ((SQUARE,), (WIDE,), (SQUARE, WIDE), (WIDE, OTHER_MODEL))
    ]
    assert waits == pytest.approx(
        [100, 100 * (1 + SHAPE_SWITCH_COST), 100 * (1 + SHAPE_SWITCH_COST), 100 * (1 + 2 * SHAPE_SWITCH_COST)]
    )


@given(st.integers(1, 1000), chances)
def test_choose_takes_an_empty_replica(queued, rng):
    empty = Replica()
    assert choose([Replica(queued, frozenset({SQUARE})), empty], SQUARE, rng) is empty


@given(chances)
def test_choose_ignores_the_shapes_of_other_models(rng):
    same_shape, stranger = Replica(100, frozenset({SQUARE})), Replica(100, frozenset({OTHER_MODEL}))
    assert choose([stranger, same_shape], SQUARE, rng) is same_shape


def test_choose_spreads_over_equal_replicas():
    replicas, rng = [Replica() for _ in range(4)], random.Random(0)
    chosen = [choose(replicas, SQUARE, rng) for _ in range(4000)]
    assert all(chosen.count(replica) == pytest.approx(1000, rel=0.15) for replica in replicas)


def test_choose_needs_a_replica():
    only = Replica(10**9, frozenset({WIDE}))
    assert choose([only], SQUARE, random.Random(0)) is only
    with pytest.raises(ValueError, match="no replica"):
        choose([], SQUARE, random.Random(0))


def spread(route, rng):
    """Send mixed requests to ten replicas that work off about as much; tell how far the longest queue is above the mean."""
    replicas, above = [Replica() for _ in range(10)], []
    for _ in range(4000):
        key = rng.choices([SQUARE, WIDE, OTHER_MODEL], [6, 3, 1])[0]
        rows = rng.choice([10, 25, 50, 400])
        chosen = route(replicas, key, rng)
        chosen.queued, chosen.keys = chosen.queued + rows, chosen.keys | {key}
        for replica in replicas:
            replica.queued = max(0, replica.queued - 12)
            replica.keys = replica.keys if replica.queued else frozenset()
        above.append(max(replica.queued for replica in replicas) - mean(replica.queued for replica in replicas))
    return mean(above)


def test_choose_evens_out_queues():
    by_chance = spread(lambda replicas, key, rng: rng.choice(replicas), random.Random(1))
    assert spread(choose, random.Random(1)) < by_chance / 3


def test_choose_keeps_a_rare_shape_on_few_replicas():
    replicas, rng = [Replica(1000, frozenset({SQUARE})) for _ in range(20)], random.Random(0)
    for _ in range(15):
        chosen = choose(replicas, WIDE, rng)
        chosen.queued, chosen.keys = chosen.queued + 50, chosen.keys | {WIDE}
    assert sum(WIDE in replica.keys for replica in replicas) <= 6
