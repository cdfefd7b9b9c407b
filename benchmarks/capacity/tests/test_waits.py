import pytest

from benchmarks.capacity.costs import H200, latency_model
from benchmarks.capacity.plan import latent_shape, minimum_gpus
from benchmarks.capacity.simulation import FIFO, ROUTING_BATCHING, simulate
from benchmarks.capacity.waits import Waits, steady_trace

LATENCY = latency_model(H200)


def waits(trace, way):
    return Waits.of(simulate(trace, way, 1, LATENCY, latent_shape, max_rows=None))


@pytest.mark.parametrize("load", [0.85, 0.95])
def test_short_requests_hardly_wait_beside_long_ones(load):
    trace = steady_trace(400, load, LATENCY, members=1000)
    in_company, one_by_one = waits(trace, ROUTING_BATCHING), waits(trace, FIFO)
    assert in_company.short_p95 <= 0.06 * one_by_one.short_p95
    assert in_company.mean <= 0.15 * one_by_one.mean


@pytest.mark.parametrize("load", [0.6, 0.95])
def test_steady_trace_has_the_load_that_was_asked_for(load):
    trace = steady_trace(400, load, LATENCY, members=40)
    assert minimum_gpus(trace, ROUTING_BATCHING, LATENCY, 16) == pytest.approx(load, rel=0.15)
