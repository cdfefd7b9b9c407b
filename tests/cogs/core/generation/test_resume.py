"""After a crash the bot takes up where it was. `Server.restart` ends it without a word to the journal."""

import asyncio
from datetime import timedelta
from unittest.mock import Mock

import pytest

from cogs.core.generation import runner
from cogs.core.messages import announcement
from cogs.core.storage.creations import State
from diffusion.errors import QueueFullError
from diffusion.images.parameters import read_parameters
from tests.support.jobs import ask, count_posts, never_ends, row_of, slow_down, until_running, until_state
from tests.support.messages import files_of, pictures_of, png, text_of
from tests.support.server import open_server


@pytest.fixture
async def server(tiny_model, database_url):
    """The journal is what restarts depend on: each kind of database goes through them."""
    async with open_server(tiny_model, database_url) as server:
        yield server


async def test_job_resumes_in_its_message_with_its_seed(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    await until_running(server, message)
    await server.restart()
    await server.until_finished(message)
    assert read_parameters(await pictures_of(message)[0].read())["seed"] == 5
    assert any("Resuming" in str(request.json) for request in server.env.http_requests)
    assert count_posts(server) == 1 and len(server.channel.history()) == 1
    await server.until_idle()
    row = await row_of(server, message)
    assert (row.state, row.token, row.attempts) == (State.DELIVERED, "", 2)


async def test_similar_job_resumes_from_its_source(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server, "similar", image=("in.png", png()))
    await server.until(lambda: "apple" in text_of(message))
    await server.restart()
    await server.until_finished(message)
    assert [file.name for file in files_of(message)] == ["source.png", "darkroom-5.png"]


async def test_rendered_picture_is_posted_without_drawing_again(server, monkeypatch):
    monkeypatch.setattr(server.service.runner.delivery, "deliver", never_ends)
    message = await ask(server, steps=2)
    await until_state(server, message, State.RENDERED)
    monkeypatch.setattr(server.engine, "submit", None)
    await server.restart()
    await server.until_finished(message)
    assert count_posts(server) == 1


async def test_pictures_are_read_from_the_store_only_after_a_restart(server, monkeypatch):
    reads = []
    read = server.service.image_store._read
    monkeypatch.setattr(server.service.image_store, "read", lambda name: reads.append(name) or asyncio.to_thread(read, name))
    message = await ask(server, "similar", image=("in.png", png()), steps=2)
    await server.until_finished(message)
    await server.until_idle()
    assert not reads
    monkeypatch.setattr(server.service.runner.delivery, "deliver", never_ends)
    message = await ask(server, "similar", image=("in.png", png()), steps=2, seed=6)
    await server.until(lambda: any(row.pictures for row in server.service.runner.active))
    await server.restart()
    await server.until_finished(message)
    row = await row_of(server, message)
    assert set(reads) == {*row.pictures, row.source}


async def test_rendered_picture_without_a_file_is_drawn_again(server, monkeypatch):
    monkeypatch.setattr(server.service.runner.delivery, "deliver", never_ends)
    message = await ask(server, steps=2)
    await until_state(server, message, State.RENDERED)
    for path in server.service.image_store.folder.rglob("*.png"):
        path.unlink()
    await server.restart()
    await server.until_finished(message)


async def test_resume_recognises_a_result_posted_in_its_message(server, monkeypatch):
    creation_store = server.service.creation_store
    with monkeypatch.context() as crash:
        crash.setattr(creation_store, "finish", never_ends)
        message = await ask(server, steps=2)
        await server.until_finished(message)
        await server.service.close()
    assert (await row_of(server, message)).state == State.RENDERED
    await server.restart()
    await server.until_idle()
    assert (await row_of(server, message)).state == State.DELIVERED
    assert count_posts(server) == 1


async def test_resume_recognises_a_result_posted_as_a_new_message(server, monkeypatch):
    creation_store = server.service.creation_store
    with monkeypatch.context() as crash:
        crash.setattr(creation_store, "finish", never_ends)
        server.env.inject_error("PATCH", "/webhooks/*/messages/*", status=400, code=30046, times=None)
        message = await ask(server, steps=2)
        await server.until(lambda: len(server.channel.history()) == 2)
        await server.service.close()
    await server.restart()
    await server.until_idle()
    assert len(server.channel.history()) == 2
    assert (await row_of(server, server.channel.history()[-1])).state == State.DELIVERED
    assert text_of(message)


@pytest.mark.parametrize("expired", [False, True])
async def test_resume_finds_a_reply_that_was_not_recorded(server, monkeypatch, expired):
    slow_down(server, monkeypatch)
    message = await ask(server)
    await server.service.close()
    row = await row_of(server, message)
    await server.service.creation_store.update(row, message_id=None, expires=row.created if expired else row.expires)
    await server.restart()
    await server.until_finished(message)
    assert len(server.channel.history()) == 1


async def test_resume_waits_for_a_reply_still_being_sent(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    await server.service.close()
    await server.service.creation_store.update(await row_of(server, message), message_id=None)
    find, looks = announcement.Announcement._find, []

    async def late(self):
        looks.append(self.creation.id)
        return await find(self) if len(looks) > 2 else None

    monkeypatch.setattr(announcement.Announcement, "_find", late)
    monkeypatch.setattr("cogs.core.tasks.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(announcement, "ORIGINAL_RESPONSE_GRACE", timedelta(minutes=5))
    await server.restart()
    await server.until_finished(message)
    assert len(looks) == 3


async def test_job_without_a_stored_request_reports_the_restart(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    await server.service.close()
    await server.service.creation_store.update(await row_of(server, message), request=None)
    await server.restart()
    await server.until(lambda: text_of(message) == runner.RESTARTED)


async def test_job_without_its_channel_fails_with_the_reason(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    await server.service.close()
    server.env.backend.delete_channel(server.channel.id)
    await server.restart()
    await server.until_idle()
    row = await row_of(server, message)
    assert (row.state, row.error) == (State.FAILED, "The channel is gone.")


async def test_job_without_its_message_is_cancelled(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    await server.service.close()
    server.env.backend.delete_message(server.channel.id, message.id)
    await server.restart()
    await server.until_idle()
    row = await row_of(server, message)
    assert (row.state, row.error) == (State.CANCELLED, runner.MESSAGE_DELETED)


async def test_job_fails_after_max_attempts(server, monkeypatch):
    monkeypatch.setattr(runner, "MAX_ATTEMPTS", 1)
    slow_down(server, monkeypatch)
    message = await ask(server)
    await until_running(server, message)
    await server.restart()
    await server.until(lambda: "gave up" in text_of(message))


@pytest.mark.parametrize("state", [State.RUNNING, State.RENDERED])
async def test_private_job_resumes_with_its_token(server, monkeypatch, state):
    if state == State.RENDERED:
        monkeypatch.setattr(server.service.runner.delivery, "deliver", never_ends)
    else:
        slow_down(server, monkeypatch)
    message = await ask(server, private=True, steps=20)
    accepted = next(request for request in server.env.http_requests if request.path.endswith("/callback"))
    assert "14 minutes only" in accepted.json["data"]["content"]
    await until_state(server, message, state)
    await server.restart()
    await server.until_finished(message)
    assert message.ephemeral


async def test_resumed_job_can_be_cancelled_while_the_queue_is_full(server, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    await until_running(server, message)
    with monkeypatch.context() as full:
        full.setattr(server.engine, "submit", Mock(side_effect=QueueFullError("full")))
        full.setattr(runner, "QUEUE_RETRY_SECONDS", 0.05)
        await server.restart()
        await server.until(lambda: "Resuming" in text_of(message))
        await server.alice.click(message, label="Cancel")
        await server.until(lambda: "Cancelled" in text_of(message))
    await server.until_idle()
    row = await row_of(server, message)
    assert (row.state, row.token) == (State.CANCELLED, "")
    assert "Cancelled" in text_of(message) and count_posts(server) == 0
