"""Stopping the bot: it takes nothing new, finishes what it can and leaves the rest to the next start."""

import asyncio

from cogs.core.generation.service import CLOSING
from cogs.core.storage.creations import State
from tests.support.jobs import ask, hold_steps, row_of, slow_down, until_running
from tests.support.messages import png, private_text, text_of


async def test_close_finishes_running_jobs_and_refuses_new_ones(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    closing = asyncio.ensure_future(server.service.close(grace=20))
    await asyncio.sleep(0)
    assert private_text(await server.bob.slash(server.channel, "imagine", prompt="late")) == CLOSING
    assert private_text(await server.bob.slash(server.channel, "similar", image=("in.png", png()))) == CLOSING
    await closing
    await server.until_finished(message)
    assert (await row_of(server, message)).state == State.DELIVERED


async def test_close_announces_that_a_long_job_resumes_later(server, monkeypatch):
    may_continue = hold_steps(server, monkeypatch)
    message = await ask(server)
    await server.service.close(grace=0.1)
    assert "this goes on afterwards" in text_of(message) and not message.components
    assert (await row_of(server, message)).state in (State.ACCEPTED, State.RUNNING)
    may_continue.set()
    await server.restart()
    await server.until_finished(message)


async def test_close_without_grace_keeps_jobs_for_the_next_start(server, monkeypatch):
    may_continue = hold_steps(server, monkeypatch)
    message = await ask(server)
    closing = asyncio.ensure_future(server.service.close(grace=60))
    await asyncio.sleep(0.1)
    closing.cancel()
    await asyncio.wait([closing])
    await server.service.close()
    assert (await row_of(server, message)).state in (State.ACCEPTED, State.RUNNING)
    may_continue.set()
    await server.restart()
    await server.until_finished(message)


async def test_close_waits_for_pending_updates_of_creations(server, monkeypatch):
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
