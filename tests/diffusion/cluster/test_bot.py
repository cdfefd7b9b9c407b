"""The bot on a cluster: nobody notices, but where a machine is lost."""

import asyncio
import os
import signal

import pytest

from bot import build_engine, load_model
from cogs.core.config import Config
from diffusion.cluster.remote import RemoteEngine
from diffusion.images.io import read_image
from tests.support.cluster import are_alike, build_request, count_queued, list_replicas
from tests.support.machines import SECRET
from tests.support.messages import pictures_of, private_text, text_of
from tests.support.server import open_server
from tests.support.waiting import until

LONG = {"steps": 150, "sampler": "heun", "count": 4}  # so that an edit falls between what happens: 299 evaluations each


@pytest.fixture
async def server(machines):
    model, check = await asyncio.to_thread(
        load_model, Config(engine=machines.url, engine_secret=SECRET, models="tiny,other"), "tiny"
    )
    async with open_server(model, check=check, kind=RemoteEngine) as server:
        yield server


async def test_bot_posts_pictures_of_a_cluster(server, local):
    result = await server.alice.slash(
        server.channel, "imagine", prompt="a red fox", seed=5, steps=20, sampler="ddim", guidance=7.5
    )
    await server.until_finished(result.response)
    (picture,) = pictures_of(result.response)
    ours = await local.submit(build_request(5))
    assert are_alike([read_image(await picture.read())], ours.images)
    assert server.service.metrics.pictures == 1 and server.service.metrics.seconds_per_picture > 0


async def test_bot_cancels_pictures_on_a_cluster(server, machines):
    result = await server.alice.slash(server.channel, "imagine", prompt="a red fox", **LONG)
    await server.until(lambda: "of 299" in text_of(result.response))
    assert "▶" in private_text(await server.alice.slash(server.channel, "queue"))
    await server.alice.click(result.response, label="Cancel")
    await server.until(lambda: "Cancelled." in text_of(result.response))
    await until(lambda: _idle(machines))


async def test_bot_resumes_lost_pictures(server, machines):
    result = await server.alice.slash(server.channel, "imagine", prompt="a red fox", **LONG | {"steps": 80})
    (job,) = server.service.jobs.values()
    await server.until(lambda: job.progress.completed)
    (busy,) = [replica for replica in await list_replicas(machines) if replica["queued"]]
    await server.until(lambda: job.progress.completed > job.progress.total / 2)
    os.kill(busy["pid"], signal.SIGKILL)
    await server.until(lambda: job.progress.resuming)
    await server.until_finished(result.response, 4)


async def test_build_engine_follows_the_config(machines):
    settings = Config(engine=machines.url, engine_secret=SECRET, models="tiny,other", max_waiting=3)
    async with await asyncio.to_thread(build_engine, settings) as engine:
        assert isinstance(engine, RemoteEngine) and engine.config.max_waiting == 3
        assert engine.model.sample_side == 32
    assert not isinstance(await asyncio.to_thread(build_engine, Config()), RemoteEngine)


async def _idle(machines):
    return await count_queued(machines) == 0
