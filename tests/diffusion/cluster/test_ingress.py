"""What a replica takes from the network: who may ask, how much, and how long; whatever is wrong ends in an answer."""

import asyncio
import contextlib
import io
import json
import re
import struct
import threading

import aiohttp
import pytest
from PIL import Image

from diffusion.cluster.framing import decode_frame, encode_frame, encode_image
from diffusion.cluster.headers import bearer
from diffusion.cluster.schema import encode_request, parse_error
from diffusion.config import EngineConfig
from diffusion.request import Limits
from diffusion.serving.engine import Engine
from tests.support.cluster import build_request
from tests.support.models import model_of
from tests.support.waiting import until

uvicorn = pytest.importorskip("uvicorn", reason="replicas need pip install -e '.[cluster]'")
from starlette.requests import Request  # noqa: E402

from diffusion.cluster import ingress  # noqa: E402
from diffusion.cluster.replica import Replica  # noqa: E402

SECRET = "open sesame"
SIDE = 64
MAX_BYTES = 1 << 24


class Client:
    """Asks a replica over HTTP."""

    def __init__(self, session, url):
        self.session, self.url = session, url

    async def post(self, data, endpoint="pictures", headers=None):
        async with self.session.post(f"{self.url}/tiny/{endpoint}", data=data, headers=headers or bearer(SECRET)) as answer:
            return answer.status, await answer.read()

    async def last(self, head, files=()):
        """Return the last frame that the replica sends."""
        status, data = await self.post(encode_frame(head, files))
        assert status == 200, data
        while True:
            (length,) = struct.unpack(">I", data[:4])
            end = 4 + length + sum(json.loads(data[4 : 4 + length])["files"])
            frame, data = data[:end], data[end:]
            if not data:
                return decode_frame(frame, MAX_BYTES)[0]


@pytest.fixture
async def engine(tiny_components):
    limits = Limits(side=SIDE, steps=20)
    async with Engine(model_of(tiny_components), EngineConfig(limits=limits), lambda images: [{} for _ in images]) as engine:
        yield engine


@pytest.fixture
async def client(engine):
    replica = Replica(engine, SECRET)

    async def app(scope, receive, send):
        await (await replica(Request(scope, receive)))(scope, receive, send)

    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none"))
    serving = asyncio.create_task(running.serve())
    await until(lambda: running.started)
    async with aiohttp.ClientSession() as session:
        yield Client(session, f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}")
    running.should_exit = running.force_exit = True
    await serving


def head_of(**changes):
    head, _ = encode_request(build_request(steps=2), 1)
    return head | {"settings": head["settings"] | changes}


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer guess", SECRET, "Bearer \xe9"])
async def test_only_who_knows_the_secret_is_answered(client, authorization):
    headers = {"Authorization": authorization}
    for endpoint in ("pictures", "screenings", "other"):
        assert (await client.post(b"", endpoint, headers))[0] == 401
    async with client.session.get(client.url, headers=headers) as answer:
        assert answer.status == 401 and "ENGINE_SECRET" in await answer.text()


async def test_replica_without_a_secret_answers_nobody(engine):
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"authorization", b"")], "query_string": b""}
    answer = await Replica(engine, "")(Request(scope))
    assert answer.status_code == 401


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize("endpoint", ["pictures", "screenings"])
async def test_bodies_are_no_larger_than_what_a_bot_sends(client, endpoint, is_declared):
    largest = ingress.max_body_bytes(endpoint, Limits(side=SIDE))
    body = bytes(largest + 1)

    async def chunks():
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    with contextlib.suppress(aiohttp.ClientError):  # the replica may close before all was sent
        assert (await client.post(io.BytesIO(body) if is_declared else chunks(), endpoint))[0] == 413
    assert len(await client.last(head_of())) == 1


def test_two_pictures_of_the_largest_side_fit():
    noise = Image.effect_noise((1024, 1024), 100)
    colours, mask = Image.merge("RGB", [noise, noise.rotate(90), noise.rotate(180)]), noise.rotate(270)
    frame = encode_frame(*encode_request(build_request(width=1024, height=1024, image=colours, mask=mask), 1))
    assert len(frame) < ingress.max_body_bytes("pictures", Limits()) < 8 << 20


async def test_slow_body_is_given_up(client, monkeypatch):
    monkeypatch.setattr(ingress, "BODY_SECONDS", 0.1)
    ended = asyncio.Event()

    async def slow():
        yield b"\0"
        await ended.wait()

    with contextlib.suppress(aiohttp.ClientError):
        posting = asyncio.create_task(client.post(slow()))
        done, _ = await asyncio.wait([posting], timeout=30)
        ended.set()
        assert done and (await posting)[0] == 408


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 256}, "at most 128"),
        ({"steps": 21}, "at most 20"),
        ({"prompt": "fox \ud83e"}, "send your request again"),
        ({"negative_prompt": "\udd8a"}, "send your request again"),
        ({"morph_to": "\ud800", "count": 2}, "send your request again"),
        ({"prompt": "fox " * 1000}, "tokens"),
        ({"prompt": "f" * 5000}, "send your request again"),
        ({"seed": 10**400}, "seed"),
        ({"width": 10**400}, "multiple|at most"),
        ({"guidance_scale": 1e400}, "guidance"),
    ],
)
async def test_replica_checks_what_the_bot_checks(client, changes, sentence):
    error = (await client.last(head_of(**changes)))["error"]
    text = str(parse_error(error))
    assert error["kind"] == "InvalidRequestError" and re.search(sentence, text), text


async def test_picture_over_the_limit_is_refused_before_it_is_decoded(client):
    head, _ = encode_request(build_request(steps=2, image=Image.new("RGB", (8, 8)), start_step=1), 1)
    bomb = encode_image(Image.new("RGB", (4096, 4096)))  # few bytes, many pixels
    assert "error" in await client.last(head, [bomb])


@pytest.mark.parametrize("broken", ["_decode", "submit"])
async def test_any_exception_becomes_a_sentence(client, engine, monkeypatch, broken, caplog):
    def fail(*_):
        raise RuntimeError("unexpected")

    monkeypatch.setattr(*((Replica, broken, fail) if broken == "_decode" else (engine, broken, fail)))
    error = (await client.last(head_of()))["error"]
    assert error["kind"] == "GenerationError" and "unexpected" not in json.dumps(error) and "unexpected" in caplog.text


async def test_exception_between_two_reports_becomes_a_sentence(client, monkeypatch, caplog):
    monkeypatch.setattr("diffusion.cluster.replica.encode_progress", lambda *_: 1 / 0)
    assert (await client.last(head_of()))["error"]["kind"] == "GenerationError"


async def test_event_loop_counts_no_tokens(client, engine):
    threads = set()
    count = engine.model.tokenizers[0].__class__.__call__
    (tokenizer,) = engine.model.tokenizers

    class Watched(type(tokenizer)):
        def __call__(self, *texts, **options):
            threads.add(threading.current_thread())
            return count(self, *texts, **options)

        def tokenize(self, *texts, **options):
            threads.add(threading.current_thread())
            return super().tokenize(*texts, **options)

    tokenizer.__class__ = Watched
    try:
        assert "result" in await client.last(head_of(prompt="a text that nobody has counted"))
    finally:
        tokenizer.__class__ = Watched.__mro__[1]
    assert threads and threading.main_thread() not in threads
