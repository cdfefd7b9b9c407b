"""Jobs that are slow or never end, and what the database says about them."""

import asyncio
import threading
import time

from cogs.core.messages import render
from cogs.core.storage.creations import State
from tests.support.waiting import WAIT_SECONDS, until


def slow_down(server, monkeypatch, seconds=0.02):
    """Make pictures slowly enough to be interrupted."""
    predict = server.engine.model.predict_noise

    def wait_and_predict(*rows):
        time.sleep(seconds)
        return predict(*rows)

    monkeypatch.setattr(server.engine.model, "predict_noise", wait_and_predict)


def hold_steps(server, monkeypatch):
    """Let no picture get beyond its first steps until the returned event is set."""
    may_continue = threading.Event()
    predict = server.engine.model.predict_noise

    def wait_and_predict(*rows):
        may_continue.wait(WAIT_SECONDS)
        return predict(*rows)

    monkeypatch.setattr(server.engine.model, "predict_noise", wait_and_predict)
    return may_continue


def never_ends(*_, **__):
    return asyncio.Event().wait()


async def ask(server, command="imagine", **options):
    result = await server.alice.slash(server.channel, command, **{"prompt": "red apple", "steps": 40, "seed": 5} | options)
    return result.response


async def row_of(server, message):
    return await server.service.creation_store.get_by_message(message.id)


async def settings_of_row(server, message):
    """The settings of the pictures in ``message``, as Info shows them."""
    request = await server.service.runner.request_of(await row_of(server, message))
    return render.settings_line(request, request.seeds)


async def until_state(server, message, state):
    """Wait until the request of ``message`` has reached ``state`` in the database."""

    async def has_state():
        return (await row_of(server, message)).state == state

    await until(has_state, seen=server.shown)


async def until_running(server, message):
    """Wait until the database knows that the engine draws the pictures of ``message``."""
    await until_state(server, message, State.RUNNING)


def count_posts(server):
    """How many requests to Discord attached finished pictures."""
    names = [str(request.json) for request in server.env.http_requests if request.json]
    return sum("darkroom-" in name for name in names)
