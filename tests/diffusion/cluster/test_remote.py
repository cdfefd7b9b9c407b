"""The engine as the bot holds it, with one replica that is asked over HTTP alone."""

import asyncio
import copy
import inspect
import math
import time
from types import SimpleNamespace

import pytest
from PIL import Image

from cogs.core.config import Config
from cogs.core.messages.render import RESUMING, progress_text
from diffusion.cluster import remote as remote_module
from diffusion.cluster.framing import encode_image
from diffusion.cluster.losses import LONE_LOSSES, SUSPECT_LOSSES, Losses
from diffusion.cluster.remote import RemoteEngine, load
from diffusion.config import EngineConfig
from diffusion.errors import GenerationError, InvalidRequestError, ModelLoadError, QueueFullError
from diffusion.result import Progress
from diffusion.serving.engine import Engine
from diffusion.serving.offers import Offer
from tests.support.cluster import build_request
from tests.support.models import model_of
from tests.support.upscalers import nearest
from tests.support.waiting import WAIT_SECONDS

uvicorn = pytest.importorskip("uvicorn", reason="replicas need pip install -e '.[cluster]'")
Request = pytest.importorskip("starlette.requests").Request
Response = pytest.importorskip("starlette.responses").Response
SECRET = "open sesame"
RED = Image.new("RGB", (8, 8), "red")


class Server:
    """Serves a replica, and can lose it: connections break as those of a machine that is switched off.

    Each of ``losing`` breaks one connection, each of ``deaths`` all that are open. To what is posted first it answers
    ``statuses``.
    """

    def __init__(self, replica):
        self.replica, self.requests, self.losing, self.deaths, self.statuses = replica, 0, 0, 0, []

    async def __call__(self, scope, receive, send):
        self.requests += scope["method"] == "POST"
        if self.statuses and scope["method"] == "POST":
            return await Response(status_code=self.statuses.pop(0))(scope, receive, send)
        frames, deaths = 0, self.deaths

        async def lossy(message):
            nonlocal frames
            if self.deaths > deaths:
                raise ConnectionResetError
            frames += message["type"] == "http.response.body"
            if self.losing and frames > 2:
                self.losing -= 1
                raise ConnectionResetError
            await send(message)

        await (await self.replica(Request(scope, receive)))(scope, receive, lossy)


@pytest.fixture
async def own(tiny_components):
    """The engine of the replica."""
    async with Engine(model_of(tiny_components), EngineConfig(preview_seconds=0), safety_check=_reddish) as engine:
        yield engine


def _reddish(images):
    return [{"red": image.resize((1, 1)).getpixel((0, 0))[0] / 255} for image in images]


@pytest.fixture
async def server(own):
    """The replica behind a port; ``url`` tells where."""
    from diffusion.cluster.replica import Replica

    app = Server(Replica(own, SECRET))
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none"))
    serving = asyncio.create_task(running.serve())
    async with asyncio.timeout(WAIT_SECONDS):
        while not running.started:
            await asyncio.sleep(0.01)
    app.url = f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    yield app
    running.should_exit = running.force_exit = True
    await serving


@pytest.fixture
async def remote(server):
    model, check = await asyncio.to_thread(load, server.url, "tiny", SECRET)
    async with RemoteEngine(model, EngineConfig(), check) as engine:
        yield engine


def test_remote_engine_has_the_methods_of_the_engine():
    methods = {name: member for name, member in vars(Engine).items() if not name.startswith("_")}
    for_replicas = {"queued", "shapes", "alive"}
    for_own_process = {"describe_image"}  # `ImageEngine` lacks it: DESCRIBE_MODEL is refused beside ENGINE
    for name, member in methods.items():
        if name in for_replicas | for_own_process:
            continue
        other = vars(RemoteEngine)[name]
        assert type(other) is type(member), name
        if inspect.isfunction(member):
            ours, theirs = (list(inspect.signature(method).parameters.values()) for method in (member, other))
            assert [(p.name, p.default, p.kind) for p in ours] == [(p.name, p.default, p.kind) for p in theirs], name


async def test_remote_model_validates_like_the_model(remote, own):
    numbers = ("grid", "guidance_above", "latent_factor", "latent_channels", "sample_side", "max_tokens", "max_steps")
    for name in ("name", "defaults", "samplers", "guide_labels", *numbers):
        assert getattr(remote.model, name) == getattr(own.model, name), name
    for text in ("a red fox", "", "Füchse 🦊 don't", "fox " * 90, "a<|endoftext|>b"):
        assert remote.model.count_tokens(text) == own.model.count_tokens(text)
    assert remote.model.request("a fox", seed=1) == own.model.request("a fox", seed=1)
    assert not hasattr(remote.model, "unet")


async def test_remote_engine_enlarges_by_the_upscaler_of_its_replica(own, server):
    own.model.offer_upscaler(nearest())
    model, check = await asyncio.to_thread(load, server.url, "tiny", SECRET)
    picture = Image.radial_gradient("L").resize((100, 40)).convert("RGB")
    request = model.request("", image=picture, upscale=1).enlarged_by_upscaler(picture, 4)
    async with RemoteEngine(model, EngineConfig(), check) as engine:
        result = await engine.submit(request)
    assert result.model == "nearest" and not result.timelapses
    assert result.images[0].tobytes() == picture.resize((400, 160), Image.Resampling.NEAREST).tobytes()


async def test_remote_engine_screens_on_the_replica(remote, own):
    result = await remote.submit(build_request())
    assert remote.can_screen and await remote.screen_images(result.images, result.safety_check) == await own.screen_images(
        result.images
    )


async def test_remote_safety_check_sends_few_and_small_images(remote, own):
    seen = []
    own._residents.default.safety_check = lambda images: seen.append([image.size for image in images]) or _reddish(images)
    assert len(await remote.screen_images([Image.new("RGB", (3000, 10))] * 10)) == 10
    assert seen == [[(1024, 3)] * 8, [(1024, 3)] * 2]


async def test_remote_safety_check_may_exceed_the_silence_timeout(remote, own, monkeypatch):
    monkeypatch.setattr(remote_module, "SILENCE_TIMEOUT_SECONDS", 0.2)
    own._residents.default.safety_check = lambda images: time.sleep(0.5) or _reddish(images)
    async with RemoteEngine(remote.model, safety_check=remote._default.check) as engine:
        assert await engine.screen_images([RED]) == [{"red": 1.0}]


async def test_remote_safety_check_retries_server_errors_only(remote, server):
    server.statuses = [500]
    assert await remote.screen_images([RED]) == [{"red": 1.0}] and server.requests == 2
    server.statuses = [400]
    with pytest.raises(GenerationError, match="could not be checked"):
        await remote.screen_images([RED])
    assert server.requests == 3


@pytest.mark.parametrize("images", [[RED] * 9, [Image.new("RGB", (2000, 1000))]])
async def test_replica_rejects_too_many_images_to_screen(server, images):
    head, _ = await server.replica._screen(({}, [encode_image(image) for image in images]))
    assert "flags" not in head and "error" in head


async def test_pause_takes_waiting_jobs_back(remote, own, server):
    own.pause()  # so that what is sent waits there
    waiting = remote.submit(build_request(), "alice")
    async with asyncio.timeout(WAIT_SECONDS):
        while not own.unfinished:
            await asyncio.sleep(0.01)
    remote.pause()
    later = remote.submit(build_request(seed=1), "bob")
    own.resume()
    async with asyncio.timeout(WAIT_SECONDS):
        while own.unfinished:
            await asyncio.sleep(0.01)
    assert remote.paused and not waiting.done and remote.unfinished == 2
    assert remote.estimate_completion() == {waiting: None, later: None} and (
        remote.jobs_of("alice"),
        remote.jobs_of("carol"),
    ) == (1, 0)
    remote.resume()
    assert [len((await job).images) for job in (waiting, later)] == [1, 1]
    assert not remote.paused


async def test_pause_does_not_count_as_connection_time(remote, server, clock):
    remote.pause()
    job = remote.submit(build_request())
    await asyncio.sleep(0.1)
    clock.ahead += 2 * remote_module.CONNECT_GIVE_UP_SECONDS
    server.statuses = [503]
    remote.resume()
    assert len((await job).images) == 1


async def test_submit_rejects_requests_over_max_waiting(remote):
    remote.config = EngineConfig(max_waiting=3)
    job = remote.submit(build_request(count=3))
    with pytest.raises(QueueFullError, match="3 pictures are waiting"):
        remote.submit(build_request())
    assert len((await job).images) == 3


async def test_submit_rejects_requests_over_the_limits(remote, own):
    own.config = EngineConfig(max_waiting=2)
    with pytest.raises(InvalidRequestError, match="at most 2"):
        await remote.submit(build_request(count=3))
    remote.config = EngineConfig(max_waiting=1)
    with pytest.raises(InvalidRequestError, match="at most 1"):
        remote.submit(build_request(count=3))


async def test_submit_rejects_new_requests_after_a_full_replica(remote, own, clock):
    own.config = EngineConfig(max_waiting=1)
    own.pause()
    ahead = own.submit(build_request(), "alice")
    waiting = remote.submit(build_request(seed=1), "bob")
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(QueueFullError):
            while True:
                remote.submit(build_request(seed=2), "carol").cancel()
                await asyncio.sleep(0.01)
    ahead.cancel()
    own.resume()
    assert len((await waiting).images) == 1
    clock.ahead += 2 * remote_module.MAX_RETRY_SECONDS
    assert len((await remote.submit(build_request(seed=2), "carol")).images) == 1


async def test_lost_replica_leads_to_a_new_start(remote, own, server):
    server.losing = 2
    job = remote.submit(build_request(steps=60, count=2))
    seen = [progress async for progress in job]
    result = await job
    assert server.requests == 3 and any(progress.resuming for progress in seen)
    ours = await own.submit(build_request(steps=60, count=2))
    assert [image.tobytes() for image in result.images] == [image.tobytes() for image in ours.images]


async def test_job_fails_after_max_losses(remote, server, monkeypatch):
    monkeypatch.setattr(remote_module, "FIRST_RETRY_SECONDS", 0.01)
    server.losing = 100
    with pytest.raises(GenerationError, match="try again"):
        await remote.submit(build_request(steps=100))
    assert server.requests == SUSPECT_LOSSES + LONE_LOSSES
    assert remote.unfinished == 0


async def test_request_that_breaks_replicas_is_found_and_spares_the_others(remote, own, server, monkeypatch):
    monkeypatch.setattr(remote_module, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr("diffusion.cluster.replica.REPORT_SECONDS", 0.01)
    seen, alone = [], []
    predict = own.model.predict_noise

    def note_the_cursed(jobs):
        is_cursed = ["cursed" in job.request.negative_prompt for job in jobs]
        if any(is_cursed) and jobs not in seen:
            seen.append(jobs)
            alone.append(len(jobs) == 1)

    def predict_noise(*rows):
        if len(alone) > server.deaths:
            time.sleep(0.1)  # the bot learns what has begun
            server.deaths += 1
        return predict(*rows)

    own.before_steps.append(note_the_cursed)
    own.model.predict_noise = predict_noise
    innocents = [remote.submit(build_request(seed), owner=seed) for seed in range(8)]
    cursed = remote.submit(build_request(9, negative_prompt="cursed"), owner=9)
    try:
        with pytest.raises(GenerationError, match="try again"):
            await cursed
        results = await asyncio.gather(*innocents)
    finally:
        own.model.predict_noise = predict
    assert [len(result.images) for result in results] == [1] * 8
    print(f"\n{len(innocents) + 1} requests, {server.deaths} replicas lost until the one was found")
    assert server.deaths >= SUSPECT_LOSSES + LONE_LOSSES and all(alone[-int(LONE_LOSSES) :])


@pytest.mark.parametrize(
    ("places", "is_suspect", "is_guilty"),
    [
        ([None], False, False),
        ([None, 0], True, False),
        ([3] * 7, False, False),
        ([3] * 8, True, False),
        ([None] * 4, True, False),
        ([None] * 5, True, True),
        ([None, None] + [3] * 11, True, False),
        ([None, None] + [3] * 12, True, True),
    ],
)
def test_losses_count_in_full_once_a_request_is_next(places, is_suspect, is_guilty):
    losses = Losses()
    for place in places:
        losses.add(place)
    assert (losses.is_suspect, losses.is_guilty) == (is_suspect, is_guilty)


async def test_queued_job_survives_more_losses(remote, own, server, monkeypatch):
    monkeypatch.setattr(remote_module, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr("diffusion.cluster.replica.REPORT_SECONDS", 0.01)
    monkeypatch.setattr("diffusion.cluster.replica.HEARTBEAT_SECONDS", 0.01)
    own.pause()
    own.submit(build_request(), "alice")
    server.losing = 6
    job = remote.submit(build_request(seed=1), "bob")
    async with asyncio.timeout(WAIT_SECONDS):
        while server.losing:
            await asyncio.sleep(0.01)
    assert job.progress.place and not job.progress.resuming
    own.resume()
    assert len((await job).images) == 1


async def test_replica_releases_requests_of_an_ended_engine(remote, own):
    job = remote.submit(build_request(steps=150, count=4))
    async for progress in job:
        if progress.completed:
            own._task.cancel()
            break
    async with asyncio.timeout(WAIT_SECONDS):
        async for progress in job:
            if progress.resuming:
                break
    assert not job.done and own.unfinished == 0


async def test_replica_turns_unhealthy_after_max_failures(remote, own, server, caplog):
    predict, own.model.predict_noise = own.model.predict_noise, _broken
    for seed in range(3):
        await server.replica.check_health()
        with pytest.raises(GenerationError, match="try again"):
            await remote.submit(build_request(seed))
    own.model.predict_noise = predict
    with pytest.raises(RuntimeError, match="3 requests failed one after another"):
        await server.replica.check_health()
    assert (await server.replica.record_routing_stats())["queued"] == math.inf
    assert await server.replica.record_autoscaling_stats() == {"queued": 0.0}
    job = remote.submit(build_request())  # another replica could make it
    async with asyncio.timeout(WAIT_SECONDS):
        while server.requests < 5:
            await asyncio.sleep(0.01)
    assert not job.done


async def test_replica_counts_failures_of_one_step_once(remote, own, server, caplog):
    predict = own.model.predict_noise
    for _ in range(2):
        own.pause()
        own.model.predict_noise = _broken
        failing = [remote.submit(build_request(seed), owner=seed) for seed in range(4)]
        async with asyncio.timeout(WAIT_SECONDS):
            while own.unfinished < 4:
                await asyncio.sleep(0.01)
        own.resume()
        errors = await asyncio.gather(*failing, return_exceptions=True)
        assert {type(error) for error in errors} == {GenerationError}
        await server.replica.check_health()
        own.model.predict_noise = predict
        await remote.submit(build_request())
    await server.replica.check_health()


def _broken(*rows):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


async def test_remote_engine_cancels_unfinished_jobs_on_exit(server, own):
    model, _ = await asyncio.to_thread(load, server.url, "tiny", SECRET)
    async with RemoteEngine(model) as remote:
        job = remote.submit(build_request(steps=150, count=4))
        async for progress in job:
            if progress.completed:
                break
    assert job.done
    async with asyncio.timeout(WAIT_SECONDS):
        while own.unfinished:
            await asyncio.sleep(0.01)


async def test_load_explains_an_unreachable_engine():
    with pytest.raises(ModelLoadError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        await asyncio.to_thread(load, "http://127.0.0.1:1", "tiny")
    with pytest.raises(ValueError, match="it must be the HTTP address that"):
        Config(engine="ray://127.0.0.1:10001")


def test_remote_engine_reports_resumed_jobs():
    text = progress_text(build_request(), Progress(None, 3, 20, resuming=True))
    assert RESUMING in text and "step" not in text
    assert RESUMING not in progress_text(build_request(), Progress(None, 3, 20))


def test_replica_reports_an_ended_engine(tiny_model):
    from diffusion.cluster.replica import Replica

    model = SimpleNamespace(count_tokens=len)
    replica = Replica(SimpleNamespace(watchers=[], alive=False, model=model), SECRET)
    with pytest.raises(RuntimeError, match="ended"):
        asyncio.run(replica.check_health())


async def test_each_request_goes_to_its_model(remote):
    model = remote.model
    missing = ModelLoadError("missing", "the cluster does not serve this model.")

    def fail():
        raise missing

    async with RemoteEngine(model, name="tiny") as engine:
        offers = {
            "tiny": Offer(fail, fail),
            "copy": Offer(lambda: (copy.copy(model), None), fail),
            "missing": Offer(fail, fail),
        }
        await engine.offer(offers)
        assert set(engine.models) == {"tiny", "copy"} and engine.model_of("copy") is not model
        asked = build_request()
        result = await engine.submit(asked.replace(model="copy"))
        assert result.images[0].tobytes() == (await engine.submit(asked)).images[0].tobytes()
        assert result.request.model == "copy"
        with pytest.raises(InvalidRequestError, match=r"There is no model `missing` here\. Choose one of `tiny`, `copy`"):
            engine.submit(asked.replace(model="missing"))
