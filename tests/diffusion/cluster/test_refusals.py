"""The bot tells apart a replica that refuses, one that is lost, and one that sends rubbish."""

import asyncio
import struct

import pytest
from aiohttp import web
from PIL import Image

from diffusion.cluster import remote as remote_module
from diffusion.cluster.framing import encode_frame, encode_image
from diffusion.cluster.remote import RemoteEngine
from diffusion.cluster.remote_safety import RemoteSafetyCheck
from diffusion.cluster.schema import RemoteModel, encode_error, encode_progress, encode_spec
from diffusion.errors import GenerationError, InvalidImageError, InvalidRequestError, QueueFullError
from diffusion.result import Progress
from tests.support.cluster import build_request
from tests.support.waiting import until

PICTURE = encode_image(Image.new("RGB", (32, 32), "red"))
DAMAGED = PICTURE[:-30]


def done(files, pictures=1):
    return encode_frame({"result": {"seconds": 1.0, "model": "tiny", "pictures": pictures}}, files)


def progress(completed, place=None, files=(), changed=()):
    head, _ = encode_progress(Progress(place, completed, 20), (), 1.0, [])
    head["progress"] |= {"changed": list(changed), "previews": len(changed)}
    return encode_frame(head, files)


class ScriptedReplica:
    """Gives each request the next of its ``answers``: a status, or frames; the last answer stays."""

    def __init__(self):
        self.answers, self.requests, self.heartbeat = [], 0, None

    async def answer(self, request):
        await request.read()
        self.requests += 1
        given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(given, web.Response):
            return web.Response(status=given.status, text=given.text)
        response = web.StreamResponse()
        await response.prepare(request)
        for frame in given:
            await response.write(frame)
        while self.heartbeat:
            await response.write(self.heartbeat)
            await asyncio.sleep(0.01)
        return response


@pytest.fixture
async def replica(monkeypatch):
    monkeypatch.setattr(remote_module, "FIRST_RETRY_SECONDS", 0.01)
    scripted = ScriptedReplica()
    application = web.Application()
    application.router.add_post("/{model}/{endpoint}", scripted.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


@pytest.fixture
def model_at(replica, tiny_model):
    return lambda name: RemoteModel(f"{replica.url}/{name}", encode_spec(tiny_model, can_screen=True))


@pytest.fixture
async def remote(model_at):
    async with RemoteEngine(model_at("tiny")) as engine:
        yield engine


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
async def test_refusal_is_final(remote, replica, status, caplog):
    replica.answers = [web.Response(status=status, text="No.")]
    with pytest.raises(GenerationError, match="try again"):
        await remote.submit(build_request())
    assert replica.requests == 1 and f"{status} No." in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=404, text="Path '/tiny' not found. Ping http://…/-/routes for available routes."),
        web.Response(status=429),
        web.Response(status=408),
        web.Response(status=500),
        web.Response(status=503),
    ],
    ids=lambda answer: str(answer.status),
)
async def test_what_may_pass_is_tried_again(remote, replica, answer):
    replica.answers = [answer, [done([PICTURE])]]
    assert len((await remote.submit(build_request())).images) == 1
    assert replica.requests == 2


async def test_full_queue_of_one_model_leaves_the_others_open(remote, replica, model_at):
    replica.answers = [[encode_frame(*encode_error(QueueFullError("full")))]]
    waiting = remote.submit(build_request())
    await until(lambda: remote._full_until)
    with pytest.raises(QueueFullError):
        remote.submit(build_request(seed=1))
    await remote.switch(lambda: (model_at("other"), None))
    other = remote.submit(build_request(seed=2))
    replica.answers = [[done([PICTURE])]]
    assert len((await other).images) == len((await waiting).images) == 1


@pytest.mark.parametrize(
    "frames",
    [
        [done([DAMAGED])],
        [done([b"no picture"])],
        [done([PICTURE], pictures=0)],
        [done([])],
        [done([PICTURE, PICTURE], pictures=2)],
        [progress(1, files=[DAMAGED], changed=[0])],
        [progress(1, files=[], changed=[3])],
        [encode_frame({"progress": {"completed": "many"}})],
        [encode_frame({"error": {"kind": 7}})],
        [encode_frame({"something": 1})],
        [encode_frame({"result": None})],
        [struct.pack(">I", 2) + b"[]"],
    ],
    ids=["damaged", "no picture", "none", "no file", "too many", "preview", "no preview", "progress", "error", "unknown",
         "result", "no frame"],
)  # fmt: skip
async def test_rubbish_of_a_replica_is_not_blamed_on_the_member(remote, replica, frames):
    replica.answers = [frames, [done([PICTURE])]]
    assert len((await remote.submit(build_request())).images) == 1
    assert replica.requests == 2


async def test_replicas_that_all_send_damaged_pictures_fail_the_request_without_blame(remote, replica):
    replica.answers = [[progress(1), done([DAMAGED])]]
    with pytest.raises(GenerationError, match="went wrong while the picture was made") as failed:
        await remote.submit(build_request())
    assert not isinstance(failed.value, InvalidImageError)


async def test_two_pictures_where_four_are_asked_are_a_failure(remote, replica):
    replica.answers = [[done([PICTURE] * 2, pictures=2)], [done([PICTURE] * 8, pictures=4)]]
    result = await remote.submit(build_request(count=4))
    assert len(result.images) == len(result.timelapses) == 4 and replica.requests == 2


@pytest.mark.parametrize(
    ("place", "limit"), [(None, remote_module.STALL_SECONDS), (3, remote_module.WAITING_STALL_SECONDS)], ids=["drawn", "queued"]
)
async def test_heartbeats_without_progress_have_a_limit(remote, replica, clock, place, limit):
    replica.answers = [[progress(5, place)]]
    replica.heartbeat = progress(5, place)
    job = remote.submit(build_request())
    await until(lambda: job.progress.completed == 5)
    clock.ahead = limit - 60
    await asyncio.sleep(0.1)
    assert replica.requests == 1
    clock.ahead = limit + 60
    replica.answers = [[done([PICTURE])]]
    await until(lambda: replica.requests == 2)
    replica.heartbeat = None
    assert len((await job).images) == 1


async def test_progress_moves_the_limit(remote, replica, clock):
    replica.answers = [[progress(5)]]
    replica.heartbeat = progress(5)
    job = remote.submit(build_request())
    for completed in range(6, 10):
        clock.ahead += remote_module.STALL_SECONDS - 60
        replica.heartbeat = progress(completed)
        await until(lambda completed=completed: job.progress.completed == completed)
    assert replica.requests == 1


@pytest.mark.parametrize("flags", [[], [{}, {}], None, [1], [{"red": "high"}]], ids=["none", "two", "null", "number", "text"])
async def test_flags_of_fewer_pictures_are_no_screening(remote, replica, flags, monkeypatch):
    monkeypatch.setattr("diffusion.cluster.remote_safety.FIRST_RETRY_SECONDS", 0.01)
    replica.answers = [[encode_frame({"flags": flags})]]
    with pytest.raises(GenerationError, match="could not be checked"):
        await remote.screen_images([Image.new("RGB", (8, 8))], RemoteSafetyCheck(f"{replica.url}/tiny"))


async def test_half_of_a_character_is_refused_before_it_is_sent(remote):
    with pytest.raises(InvalidRequestError, match="The prompt contains a broken character"):
        remote.submit(build_request().replace(prompt="fox \ud83e"))
