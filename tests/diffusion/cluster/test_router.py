"""Which replica Serve sends a request to, and how many there are, by queued work."""

import math
import random
import warnings
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from diffusion import cluster
from diffusion.cluster.headers import MAX_SECONDS, format_routing_key, parse_routing_key
from diffusion.cluster.scaling import by_queued_rows

SHAPE, OTHER = (1, 4, 16, 16), (1, 4, 32, 32)
Deployment = namedtuple("Deployment", "app_name")
Identity = namedtuple("Identity", "name deployment_id")


@pytest.fixture(scope="module")
def router_class():
    pytest.importorskip("ray.serve", reason="replicas need pip install -e '.[cluster]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        from diffusion.cluster.router import QueuedSecondsRouter
    return QueuedSecondsRouter


@pytest.fixture
def router(router_class):
    router = router_class.__new__(router_class)  # what Serve sets up besides is not asked
    router.initialize_state()
    router._rng = random.Random(1)
    return router


def replica(name, queued, *shapes, stats_version=1):
    stats = {"queued": queued, "shapes": [list(shape) for shape in shapes], "stats_version": stats_version}
    return SimpleNamespace(replica_id=Identity(name, Deployment("tiny")), routing_stats=stats)


def request(name, shape=SHAPE, seconds=100):
    metadata = SimpleNamespace(internal_request_id=name, app_name="tiny", session_id=format_routing_key(shape, seconds))
    return SimpleNamespace(metadata=metadata, routing_context=SimpleNamespace(should_backoff=False))


async def first(router, replicas, asked):
    ranks = await router.choose_replicas(replicas, asked)
    assert sorted(one.replica_id.name for rank in ranks for one in rank) == sorted(one.replica_id.name for one in replicas)
    return ranks[0][0].replica_id.name


async def test_router_chooses_the_shorter_queue(router):
    assert await first(router, [replica("long", 900), replica("short", 100)], request("a")) == "short"


async def test_router_prefers_a_replica_of_the_same_shape(router):
    replicas = [replica("other", 100, OTHER), replica("same", 110, SHAPE)]
    assert {await first(router, replicas, request(str(number), seconds=0)) for number in range(20)} == {"same"}
    assert await first(router, [replica("other", 100, OTHER), replica("same", 900, SHAPE)], request("far")) == "other"


async def test_router_counts_requests_in_flight_until_new_statistics(router):
    pair = [replica("one", 0), replica("two", 50)]
    assert await first(router, pair, request("a", seconds=200)) == "one"
    assert await first(router, pair, request("b", seconds=200)) == "two"
    told = [replica("one", 10, stats_version=2), replica("two", 240, stats_version=2)]
    assert await first(router, told, request("c", seconds=100)) == "one"


async def test_router_forgets_requests_that_never_arrived(router):
    for stats_version in range(1, 4):
        for number in range(5):  # of whose end nobody tells
            await first(
                router,
                [replica("one", 0, stats_version=stats_version), replica("two", 0, stats_version=stats_version)],
                request(f"{stats_version} {number}"),
            )
        assert len(router._in_flight) == 5


async def test_router_avoids_broken_replicas(router):
    replicas = [replica("broken", math.inf, SHAPE), replica("sound", 900)]
    assert {await first(router, replicas, request(str(number))) for number in range(5)} == {"sound"}
    assert await first(router, replicas[:1], request("only")) == "broken"


async def test_router_forgets_completed_requests(router):
    pair = [replica("one", 0), replica("two", 50)]
    await first(router, pair, request("a", seconds=200))
    router.on_request_completed(pair[0].replica_id, "a")
    assert await first(router, pair, request("b")) == "one"


async def test_router_accepts_requests_without_a_key(router):
    asked = request("a")
    asked.metadata.session_id = ""
    assert await first(router, [replica("only", 0)], asked) == "only"
    assert asked.routing_context.should_backoff
    assert await router.choose_replicas([], asked) == [[]]


@pytest.mark.parametrize(
    ("queued", "wanted"), [({}, 3), ({"a": 0.0}, 1), ({"a": 1.0}, 1), ({"a": 1500.0, "b": 1501.0}, 4), ({"a": 90_000.0}, 8)]
)
def test_by_queued_rows_scales_with_the_queue(queued, wanted):
    context = SimpleNamespace(
        aggregated_metrics={"queued": queued} if queued else {},
        config=SimpleNamespace(target_ongoing_requests=1000),
        target_num_replicas=3,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=8,
    )
    assert by_queued_rows(context) == (wanted, {})


def test_serve_yaml_matches_serve_and_options(router_class):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as built
        from ray.serve.schema import ServeDeploySchema

        from diffusion.cluster.app import build

        path = Path(cluster.__file__).with_name("serve.yaml")
        config = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
        (told,) = config.applications
        assert told.import_path == f"{build.__module__}:{build.__name__}"
        assert told.route_prefix == f"/{told.name}"
        whole = yaml.safe_load(path.read_text().replace("  # - name", "  - name").replace("  #   ", "    "))
        for application in (told.model_dump(), *whole["applications"]):
            built(build, application["args"])
        assert len(whole["applications"]) == 2


@pytest.mark.parametrize(
    "key", ["", "9" * 400, f"1x4x4x4 {'9' * 400}", f"{'9' * 400}x4 1", "1x4x4x4 -5", "1x4x4x4 1e400", "1x4 ٣", "x 1", "1 nan"]
)
async def test_router_takes_no_number_out_of_bounds(router, key):
    shape, seconds = parse_routing_key(key)
    assert 0 <= seconds <= MAX_SECONDS and all(side < 10**6 for side in shape)
    request_ = request("a")
    request_.metadata.session_id = key
    await first(router, [replica("long", 900), replica("short", 100)], request_)
    assert await first(router, [replica("long", 900), replica("short", 100)], request("b")) in ("long", "short")


def test_seconds_of_a_routing_key_are_bounded():
    assert parse_routing_key("1x4x4x4 999999999") == ((1, 4, 4, 4), MAX_SECONDS)
    assert parse_routing_key(format_routing_key(SHAPE, 7176)) == (SHAPE, 7176)
