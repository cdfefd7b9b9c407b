"""Which model is loaded, closed or evicted next."""

import pytest

from diffusion.serving.batcher import Batcher
from diffusion.serving.forecast import SimulatedLanes, estimate_completion
from diffusion.serving.lanes import Lane, Move, next_move, turn_end
from diffusion.serving.latency import LatencyModel
from diffusion.serving.price import Prices
from tests.support.items import Item


def lane(name, *, loaded_at=None, wanted=None, **settings):
    new = Lane(name, **{"bytes": 10, "measured_load_seconds": 1.0} | settings)
    if loaded_at is not None:
        new.open(loaded_at)
    new.wanted = wanted
    return new


def move(lanes, running=(), waiting=(), room=25, now=100.0):
    return next_move(lanes, running, waiting, room=room, now=now)


def test_a_model_that_fits_is_loaded_beside_the_others():
    first, other = lane("first", loaded_at=0), lane("other", wanted=99)
    assert move([first, other], running={first}) == (Move.LOAD, other)


def test_one_model_is_loaded_at_a_time():
    loading, other = lane("loading", is_loading=True), lane("other", wanted=99)
    assert move([loading, other]) is None


def test_the_model_that_waits_longest_is_next():
    assert move([lane("late", wanted=5), early := lane("early", wanted=3)]) == (Move.LOAD, early)


def test_the_least_recently_used_idle_model_leaves():
    old, new, other = lane("old", loaded_at=0), lane("new", loaded_at=0), lane("other", wanted=99)
    new.used = 50.0
    assert move([new, old, other]) == (Move.EVICT, old)
    assert move([new, old, other], running={old}) == (Move.EVICT, new)


def test_a_busy_model_keeps_its_turn():
    busy, other = lane("busy", loaded_at=95), lane("other", wanted=96)
    assert turn_end(busy, other) == 95 + 4 * 2
    assert move([busy, other], running={busy}, room=15) is None
    assert move([busy, other], waiting={busy}, room=15) is None
    assert move([busy, other], running={busy}, room=15, now=103.0) == (Move.CLOSE, busy)


def test_a_closed_model_leaves_once_it_has_finished():
    closed, other = lane("closed", loaded_at=0), lane("other", wanted=1)
    closed.close()
    assert move([closed, other], running={closed}, waiting={closed}, room=15) is None
    assert move([closed, other], waiting={closed}, room=15) == (Move.EVICT, closed)


def test_a_closed_model_opens_again_if_nothing_needs_its_room():
    closed = lane("closed", loaded_at=0)
    closed.close()
    assert move([closed, lane("other")], waiting={closed}) == (Move.REOPEN, closed)


def test_a_model_larger_than_the_room_is_loaded_alone():
    first, large = lane("first", loaded_at=0), lane("large", wanted=1, bytes=90)
    assert move([first, large]) == (Move.EVICT, first)
    first.evict()
    assert move([first, large]) == (Move.LOAD, large)


SECONDS = 0.01  # of each call


def measured():
    latency = LatencyModel()
    for rows in (2, 2, 4, 8):
        latency.observe((1, 4, 4, 4), rows, SECONDS)
    return Prices(latency)


def forecast(items, lanes, room):
    batcher = Batcher(64)
    for item in items:
        batcher.add(item)
    return estimate_completion(batcher, LatencyModel(), SimulatedLanes(lanes, room, 0.0))


def test_the_forecast_includes_loading():
    first, other = lane("first", loaded_at=0, prices=measured()), lane("other", prices=measured())
    here, there = Item("a", lane=first), Item("b", lane=other)
    seconds = forecast([here, there], [first, other], room=25)
    assert seconds == pytest.approx({here: 10 * SECONDS, there: 1.0 + 10 * SECONDS})
    assert not other.is_loaded and other.wanted is None  # it was only simulated


def test_the_forecast_lets_models_take_turns():
    first, other = lane("first", loaded_at=0, prices=measured()), lane("other", prices=measured())
    long, late, there = (Item("a", lane=first, left=900, rows=64), Item("a", lane=first, left=800), Item("b", lane=other))
    seconds = forecast([long, late, there], [first, other], room=15)
    assert seconds[long] == pytest.approx(9.0)  # it started within its turn of 8 s, so it is finished
    assert seconds[there] == pytest.approx(9.0 + 1.0 + 10 * SECONDS)
    assert seconds[late] == pytest.approx(seconds[there] + 1.0 + 8.0)
