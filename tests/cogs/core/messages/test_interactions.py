"""A slow database is not a dead one: members are answered in time, and the bot waits."""

import asyncio
import contextlib
import sqlite3

import pytest

from cogs.core.messages import interactions
from cogs.core.storage import database
from tests.support.messages import pictures_of, private_text, text_of
from tests.support.server import open_server
from tests.support.slow_proxy import SlowProxy
from tests.support.waiting import until


def acknowledgements(server):
    """Return the types of the first answers that Discord has received."""
    requests = [request for request in server.env.http_requests if request.path.endswith("/callback")]
    return [request.json["type"] for request in requests]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(interactions, "ACKNOWLEDGE_SECONDS", 0.05)


@pytest.fixture
async def slow(postgresql):
    async with SlowProxy(postgresql.create_database()) as proxy:
        yield proxy


@contextlib.contextmanager
def locked(path):
    """Let another program lock SQLite."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def meanwhile(server, action, hold):
    """Begin ``action``, wait until it is acknowledged while the database stands still, and return what it led to."""
    answered = len(acknowledgements(server))
    with hold:
        running = asyncio.create_task(action)
        await until(lambda: len(acknowledgements(server)) > answered)
        assert not running.done()
    return await running


async def test_request_is_acknowledged_while_the_database_stands_still(tiny_model, slow, impatient):
    async with open_server(tiny_model, slow.url) as server:
        result = await meanwhile(server, server.alice.slash(server.channel, "imagine", prompt="fox", steps=2), slow.stall())
        message = result.response
        await server.until_finished(message)
        assert acknowledgements(server) == [5] and not message.ephemeral
        pressed = await meanwhile(server, server.bob.click(message, label="Reroll"), slow.stall())
        await server.until(lambda: sum(bool(pictures_of(shown)) for shown in server.channel.history()) == 2)
        assert not any(one.content for one in (pressed.response, *pressed.followups) if one and one.ephemeral)
        await server.until_idle()
        private = await meanwhile(
            server, server.alice.slash(server.channel, "imagine", prompt="owl", steps=2, private=True), slow.stall()
        )
        await server.until(lambda: pictures_of(private.response))
        assert private.response.ephemeral
        await server.until_idle()


async def test_settings_and_usage_wait_for_the_database(tiny_model, slow, impatient):
    async with open_server(tiny_model, slow.url) as server:
        usage = await meanwhile(server, server.alice.slash(server.channel, "usage"), slow.stall())
        assert "picture" in private_text(usage)
        remix = await meanwhile(server, server.alice.slash(server.channel, "privacy remix", allowed=False), slow.stall())
        assert "Nobody else may start" in private_text(remix)


async def test_error_is_private_after_a_public_acknowledgement(tiny_model, slow, impatient):
    async with open_server(tiny_model, slow.url) as server:
        await server.service.stores.gallery.latest(1, "", 1)
        for _ in range(6):
            last = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=150)
        assert "unfinished requests" in private_text(last)
        refused = await meanwhile(server, server.alice.slash(server.channel, "imagine", prompt="fox"), slow.stall())
        assert "unfinished requests" in private_text(refused)
        assert not any("unfinished requests" in text_of(message) for message in server.channel.history())
        for job in list(server.service.jobs.values()):
            job.cancel()
        await server.until_idle()


async def test_sqlite_that_another_program_locks_is_waited_for(server, impatient, monkeypatch):
    monkeypatch.setattr(database, "RETRY_SECONDS", 0.01)
    path = server.service.database.engine.url.database
    asked = server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)
    await server.until_finished((await meanwhile(server, asked, locked(path))).response)
    await server.until_idle()
