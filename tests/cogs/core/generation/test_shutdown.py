"""Stopping the bot: it takes nothing new, finishes what it can and leaves the rest to the next start."""

import asyncio

from cogs.core.generation.service import CLOSING
from cogs.core.storage.creations import State
from tests.support.jobs import ask, row_of, slow_down, until_running
from tests.support.messages import png, private_text, text_of


async def test_what_runs_is_finished_and_nothing_new_is_taken(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    closing = asyncio.ensure_future(server.service.close(grace=20))
    await asyncio.sleep(0)
    assert private_text(await server.bob.slash(server.channel, "imagine", prompt="late")) == CLOSING
    assert private_text(await server.bob.slash(server.channel, "similar", image=("in.png", png()))) == CLOSING
    await closing
    await server.until_finished(message)
    assert (await row_of(server, message)).state == State.DELIVERED


async def test_what_takes_longer_is_left_to_the_next_start_and_says_so(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    await server.service.close(grace=0.1)
    assert "this goes on afterwards" in text_of(message) and not message.components
    assert (await row_of(server, message)).state in (State.ACCEPTED, State.RUNNING)
    await server.restart()
    await server.until_finished(message)


async def test_a_second_signal_ends_the_grace_and_loses_nothing(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    closing = asyncio.ensure_future(server.service.close(grace=60))
    await asyncio.sleep(0.1)
    closing.cancel()
    await asyncio.wait([closing])
    await server.service.close()
    assert (await row_of(server, message)).state in (State.ACCEPTED, State.RUNNING)
    await server.restart()
    await server.until_finished(message)


async def test_the_journal_is_left_in_peace_once_the_bot_is_closed(server, monkeypatch):
    slow_down(server, monkeypatch)
    update, let_go = server.service.creation_store.update, []

    async def reluctant(creation, **changes):
        await update(creation, **changes)
        if changes.get("state") == State.RUNNING:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.2)  # as a transaction that is rolled back
                let_go.append(creation.id)

    monkeypatch.setattr(server.service.creation_store, "update", reluctant)
    message = await ask(server)
    await until_running(server, message)
    await server.service.close()
    assert let_go == [(await row_of(server, message)).id]
