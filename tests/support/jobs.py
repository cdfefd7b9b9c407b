"""Jobs that are slow or never end, and what the database says about them."""

import asyncio
import time

from cogs.core.storage.creations import State
from tests.support.waiting import until


def slow_down(server, monkeypatch, seconds=0.02):
    """Make pictures slowly enough to be interrupted."""
    predict = server.engine.model.predict_noise

    def wait_and_predict(*rows):
        time.sleep(seconds)
        return predict(*rows)

    monkeypatch.setattr(server.engine.model, "predict_noise", wait_and_predict)


def never_ends(*_, **__):
    return asyncio.Event().wait()


async def ask(server, command="imagine", **options):
    result = await server.alice.slash(server.channel, command, **{"prompt": "red apple", "steps": 40, "seed": 5} | options)
    return result.response


async def row_of(server, message):
    return await server.service.creation_store.get_by_message(message.id)


async def until_running(server, message):
    """Wait until the journal knows that this is being made."""

    async def is_running():
        return (await row_of(server, message)).state == State.RUNNING

    await until(is_running, seen=server.shown)


def count_posts(server):
    """How many requests to Discord attached finished pictures."""
    names = [str(request.json) for request in server.env.http_requests if request.json]
    return sum("darkroom-" in name for name in names)
