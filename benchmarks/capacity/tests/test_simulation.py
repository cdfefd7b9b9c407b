from collections import Counter, defaultdict

import pytest

from benchmarks.capacity.costs import H200, latency_model
from benchmarks.capacity.plan import Point, latent_shape, minimum_gpus
from benchmarks.capacity.simulation import FIFO, ROUND_ROBIN_BATCHING, ROUTING_BATCHING, WAYS, SimulatedImage, simulate
from benchmarks.capacity.trace import FLOOD_REQUESTS, HOUR_SECONDS, Arrival, Community
from diffusion.request import ImageRequest
from diffusion.serving.batcher import Batcher
from diffusion.serving.forecast import estimate_completion
from diffusion.serving.latency import LatencyModel
from diffusion.serving.price import Prices

SMALL = (1, 4, 8, 8)
LARGE = (1, 4, 16, 16)
COMMUNITY = Community(members=100_000)


def fit(*calls):
    latency = LatencyModel()
    for shape, rows, seconds in calls:
        latency.observe(shape, rows, seconds)
    return latency


def flat(seconds=1.0):
    """A GPU whose calls take the same time for any number of rows."""
    return fit(*[(SMALL, rows, seconds) for rows in (2, 2, 16)])


def sloped():
    """A GPU whose calls take a constant time plus a time per row."""
    return fit(*[(shape, rows, 0.1 + rows * 0.02 * share) for shape, share in ((SMALL, 1), (LARGE, 4)) for rows in (2, 2, 16)])


def ask(at, steps, owner="anybody", side=64, **settings):
    return Arrival(at, owner, ImageRequest("a fox", width=side, height=side, steps=steps, **settings))


def waits(trace, way, gpus=1, latency=None, **settings):
    return [each.total_wait for each in simulate(trace, way, gpus, latency or flat(), latent_shape, **settings)]


@pytest.fixture(scope="module")
def minutes():
    """Three minutes around the burst."""
    return list(COMMUNITY.trace(20.48, 20.53))


def test_batching_lets_a_newcomer_join_at_the_next_step():
    trace = [ask(0.0, 3), ask(0.5, 2, "another")]
    assert waits(trace, ROUTING_BATCHING) == pytest.approx([3.0, 2.5])
    assert [each.start_delay for each in simulate(trace, ROUTING_BATCHING, 1, flat(), latent_shape)] == pytest.approx(
        [0.0, 0.5]
    )


def test_fifo_serves_one_request_after_another():
    assert waits([ask(0.0, 3), ask(0.5, 2)], FIFO) == pytest.approx([3.0, 4.5])


def test_fifo_gives_the_next_request_to_a_free_gpu():
    assert waits([ask(0.0, 9), ask(0.5, 1), ask(1.0, 1), ask(1.2, 1)], FIFO, gpus=2) == pytest.approx([9.0, 1.0, 1.5, 2.3])


def test_request_waits_for_all_its_pictures():
    assert waits([ask(0.0, 3, count=4)], FIFO) == pytest.approx([12.0])
    assert waits([ask(0.0, 3, count=4)], ROUTING_BATCHING) == pytest.approx([3.0])


def test_request_cost_counts_guidance_rows_and_sampler_calls():
    latency = fit(*[(SMALL, rows, rows * 1.0) for rows in (1, 1, 16)])
    assert waits([ask(0.0, 3, guidance_scale=1.0)], FIFO, latency=latency) == pytest.approx([3.0])
    assert waits([ask(0.0, 3, sampler="heun")], FIFO, latency=latency) == pytest.approx([10.0])


def test_one_shape_is_done_before_the_next():
    latency = fit(*[(shape, 2, 1.0) for shape in (SMALL, SMALL, LARGE, LARGE)])
    assert waits([ask(0.0, 3), ask(0.0, 3, "another", side=128)], ROUTING_BATCHING, latency=latency) == pytest.approx(
        [3.0, 6.0]
    )


def test_routing_avoids_the_queue_that_round_robin_takes():
    trace = [ask(0.0, 50, "a", count=4), ask(0.1, 1, "b"), ask(1.5, 50, "c"), ask(2.0, 1, "d")]
    latency = fit(*[(SMALL, rows, rows * 1.0) for rows in (2, 2, 16)])
    assert waits(trace, ROUND_ROBIN_BATCHING, 2, latency)[2] > 1.5 * waits(trace, ROUTING_BATCHING, 2, latency)[2]


@pytest.mark.parametrize("sides", [(64,), (64, 128)])
@pytest.mark.parametrize("max_rows", [2, 6, 16])
def test_simulation_of_one_gpu_agrees_with_estimate_completion(sides, max_rows):
    trace = [ask(0.0, 10 + 7 * number % 11, f"owner {number}", sides[number % len(sides)]) for number in range(12)]
    served = simulate(trace, ROUTING_BATCHING, 1, sloped(), latent_shape, max_rows)
    pictures = [SimulatedImage(each.arrival.owner, each.key[1], 2, each.arrival.request.evaluations) for each in served]
    batcher: Batcher[SimulatedImage] = Batcher(max_rows, Prices(sloped()))
    for picture in pictures:
        batcher.add(picture)
    estimates = estimate_completion(batcher, sloped())
    expected = [estimates[picture] for picture in pictures]
    tolerance = 0.1 + 16 * 0.02 * max(sides) ** 2 / 64**2  # the estimate does not know whose turn comes first
    assert [each.total_wait for each in served] == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_simulation_ends_every_picture_no_sooner_than_possible(minutes, way):
    latency = latency_model(H200)
    served = simulate(minutes, way, 2, latency, latent_shape)
    assert [each.arrival for each in served] == minutes
    for each in served:
        request = each.arrival.request
        assert len(each.pictures) == request.count
        assert 0 <= each.start_delay < each.total_wait < 10**5
        for picture in each.pictures:
            alone = request.evaluations * latency.seconds(picture.shape, picture.rows)
            assert picture.left == 0
            assert picture.ended - picture.started >= alone - 1e-9


def test_gpus_are_never_idle_while_requests_wait(minutes):
    trace = [Arrival(0.0, arrival.owner, arrival.request) for arrival in minutes]
    fewest = minimum_gpus([*trace, ask(1.0, 1)], FIFO, latency_model(H200), 16)  # GPU-seconds: the trace lasts one second
    assert max(waits(trace, FIFO, 1, latency_model(H200))) == pytest.approx(fewest, rel=0.01)


def test_requests_of_an_owner_and_a_size_begin_in_order(minutes):
    for way in (FIFO, ROUTING_BATCHING):
        start_times = defaultdict(list)
        for each in simulate(minutes, way, 1, latency_model(H200), latent_shape):
            start_times[each.arrival.owner, each.key] += [picture.started for picture in each.pictures]
        assert all(times == sorted(times) for times in start_times.values())


def test_batching_protects_other_members_from_a_flood():
    flood = [ask(0.0, 20, "flooder") for _ in range(FLOOD_REQUESTS)]
    trace = [*flood, ask(1.0, 5, "modest")]
    assert waits(trace, ROUTING_BATCHING, max_rows=2)[-1] < waits(trace, FIFO)[-1] / 10


def test_simulation_repeats_with_the_same_seed(minutes):
    first, again, other = (waits(minutes, ROUTING_BATCHING, 3, latency_model(H200), seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_batching_and_routing_more_than_halve_long_waits(minutes):
    late = {
        way: Point.of(1, simulate(minutes, way, 1, latency_model(H200), latent_shape)).wait_p95
        for way in (FIFO, ROUTING_BATCHING)
    }
    assert late[ROUTING_BATCHING] < late[FIFO] / 2


def test_trace_of_a_period_equals_that_part_of_the_day(minutes):
    assert list(COMMUNITY.trace(20.5, 20.53)) == [arrival for arrival in minutes if arrival.at >= 20.5 * HOUR_SECONDS]
    assert [arrival.at for arrival in minutes] == sorted(arrival.at for arrival in minutes)
    assert list(Community(100_000, seed=1).trace(20.5, 20.53)) != list(COMMUNITY.trace(20.5, 20.53))


def test_trace_is_busiest_in_the_evening_and_in_a_burst(minutes):
    night = list(COMMUNITY.trace(8.0, 8.05))
    assert len(night) < len(list(COMMUNITY.trace(20.0, 20.05))) / 3
    by_minute = Counter(int(arrival.at // 60) for arrival in minutes if arrival.at >= 20.5 * HOUR_SECONDS - 60)
    assert max(by_minute, key=by_minute.get) == 20.5 * 60


def test_trace_mixes_sizes_counts_and_samplers(minutes):
    requests = [arrival.request for arrival in minutes]
    assert sum(request.width == request.height == 512 for request in requests) == pytest.approx(0.75 * len(requests), rel=0.15)
    assert {request.count for request in requests} == {1, 2, 4}
    assert len({request.sampler for request in requests}) > 4
    assert any(request.start_step for request in requests)
    assert any(request.guidance_scale <= 1 for request in requests)
