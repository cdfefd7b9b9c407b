"""What a member sees for each way in which Discord may refuse an answer. ``pytest -s`` prints the table."""

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta

import discord
import pytest
from discord import Guild
from simcord.backend.models.channel import Overwrite
from simcord.enums import OverwriteType

from cogs.core.messages import delivery
from cogs.core.storage.creations import State
from diffusion.images.io import read_image
from tests.support.jobs import never_ends, row_of, slow_down
from tests.support.messages import pictures_of, private_text, text_of
from tests.support.server import open_server

EDIT = ("PATCH", "/channels/*/messages/*")
NEW = ("POST", "/channels/*/messages")
TOKEN_EDIT = ("PATCH", "/webhooks/*/messages/*")
TOKEN_NEW = ("POST", "/webhooks/*")


@dataclass
class Fault:
    name: str
    errors: list  # (method and path, status, code, times)
    sees: str  # "pictures in the channel" and so on
    state: str = State.DELIVERED
    private: bool = False
    expired: bool = False
    error: str | None = None


def always(request, status, code):
    return (request, status, code, None)


FAULTS = [
    Fault("none", [], "the message with its pictures"),
    Fault("message older than an hour", [always(EDIT, 400, 30046)], "a new message that refers to the first"),
    Fault("message deleted", [always(EDIT, 404, 10008)], "a new message that refers to the first"),
    Fault("the bot may not see the channel", [always(EDIT, 403, 50001)], "the message with its pictures"),
    Fault("the bot may not post", [always(EDIT, 403, 50013)], "the message with its pictures"),
    Fault("the thread is archived", [always(EDIT, 400, 50083)], "the message with its pictures"),
    Fault("the bot may not post, token expired", [always(EDIT, 403, 50013)], "a direct message", expired=True),
    Fault(
        "message deleted and no permission to post",
        [always(EDIT, 404, 10008), always(NEW, 403, 50013), always(TOKEN_EDIT, 404, 10008)],
        "a follow-up of the interaction",
    ),
    Fault(
        "no permission, token expired, direct messages closed",
        [always(EDIT, 403, 50001), always(NEW, 403, 50007)],
        "nothing; the journal has the reason",
        State.FAILED,
        expired=True,
        error="Discord rejected the answer: 403",
    ),
    Fault("the channel is gone", [always(EDIT, 404, 10003)], "nothing; the journal has the reason", State.FAILED, error="gone"),
    Fault("files too large once (413)", [(EDIT, 413, 0, 1)], "sent as lossless WebP, because the file was too large here"),
    Fault("files too large twice (40005)", [(EDIT, 413, 40005, 2)], "sent as WebP, because the file was too large here"),
    Fault("three times", [(EDIT, 413, 40005, 3)], "sent as WebP at half the size, because the message was too large here"),
    Fault("files too large in any form", [(EDIT, 413, 40005, 5)], "the message with one sentence", State.FAILED),
    Fault("rate limit (429)", [(EDIT, 429, 0, 2)], "the message with its pictures"),
    Fault(
        "Discord fails (500, 502, 503)",
        [(EDIT, 500, 0, 1), (EDIT, 502, 0, 1), (EDIT, 503, 0, 1)],
        "the message with its pictures",
    ),
    Fault("private", [], "the message with its pictures", private=True),
    Fault("private, token expired", [always(TOKEN_EDIT, 404, 10015)], "a direct message", private=True),
    Fault("private, message dismissed", [always(TOKEN_EDIT, 404, 10008)], "a follow-up of the interaction", private=True),
    Fault("private, Discord fails (500)", [(TOKEN_EDIT, 500, 0, 2)], "the message with its pictures", private=True),
    Fault("pictures that Discord calls invalid", [(EDIT, 400, 50035, 1)], "the message with one sentence", State.FAILED),
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("cogs.core.retry.FIRST_WAIT_SECONDS", 0.01)


async def rendered(server, monkeypatch, channel=None, **options):
    """Ask for a picture and hold its delivery back until the answer of this is set."""
    ways = server.service.runner.delivery
    deliver, ready, go = ways.deliver, asyncio.Event(), asyncio.Event()

    async def wait_and_deliver(*answer):
        ready.set()
        await go.wait()
        return await deliver(*answer)

    monkeypatch.setattr(ways, "deliver", wait_and_deliver)
    asked = {"prompt": "red apple", "steps": 2, "seed": 5, "upscale": 2} | options
    result = await server.alice.slash(channel or server.channel, "imagine", **asked)
    await ready.wait()
    return result, go


def sight(server, result):
    """Put in words what the member has before them."""
    message, history = result.response, server.channel.history()
    direct = server.env.backend.get_dm_channel(server.alice.id)
    (direct,) = [*server.env.backend.messages[direct.id].values()][-1:] or [None]
    if pictures_of(message):
        if {file.name.rpartition(".")[2] for file in pictures_of(message)} == {"png"}:
            return "the message with its pictures"
        return text_of(message).rpartition("-# ")[2]
    if direct and direct.attachments:
        return "a direct message"
    if any(pictures_of(followup) for followup in result.followups):
        return "a follow-up of the interaction"
    if pictures_of(history[-1]) and history[-1].reference.message_id == message.id:
        return "a new message that refers to the first"
    if delivery.TOO_LARGE in text_of(message) or delivery.NOT_TAKEN in text_of(message):
        return "the message with one sentence"
    return "nothing; the journal has the reason"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_delivery_fault_ends_in_pictures_or_a_reason(server, monkeypatch, fault):
    server.fault = fault
    result, go = await rendered(server, monkeypatch, private=fault.private)
    (creation,) = server.service.runner._creations.values()
    if fault.expired:
        creation.expires -= timedelta(minutes=15)
    for (method, path), status, code, times in fault.errors:
        server.env.inject_error(method, path, status=status, code=code, times=times)
    go.set()
    await server.until_idle()
    seen = sight(server, result)
    print(f"\n| {fault.name} | {seen} | {creation.state} |", end="")
    assert seen == fault.sees
    assert creation.state == fault.state and creation.token == ""
    assert (fault.error or "") in (creation.error or "")


async def test_smaller_picture_keeps_its_name_text_and_buttons(server, monkeypatch):
    result, go = await rendered(server, monkeypatch)
    server.env.inject_error(*EDIT, status=413, code=40005, times=3)
    go.set()
    await server.until_finished(result.response)
    (picture,) = pictures_of(result.response)
    assert picture.name == "darkroom-5.webp" and picture.description == "red apple"
    assert read_image(await picture.read()).size == (32, 32)
    await server.until_idle()
    again = await server.bob.click(result.response, label="Reroll")
    await server.until_finished(again.response)
    assert "**red apple**" in text_of(again.response)
    assert (await row_of(server, again.response)).parent_id == (await row_of(server, result.response)).id


@pytest.mark.parametrize(("limit", "note"), [(20_000, ""), (3000, "as WebP,"), (1200, "at half the size")])
async def test_delivery_fits_the_upload_limit_before_sending(server, monkeypatch, limit, note):
    monkeypatch.setattr(Guild, "filesize_limit", limit)
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2, seed=5, upscale=2)
    await server.until_finished(result.response)
    (picture,) = pictures_of(result.response)
    assert len(await picture.read()) <= limit
    assert note in text_of(result.response)
    assert sum("darkroom-" in str(request.json) for request in server.env.http_requests if request.method == "PATCH") == 1


async def test_delivery_waits_while_the_network_is_down(server, monkeypatch):
    ways = server.service.runner.delivery
    go, failures = ways._send, 5

    async def unplugged(*answer):
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError("no route to host")
        return await go(*answer)

    monkeypatch.setattr(ways, "_send", unplugged)
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2)
    await server.until_finished(result.response)


async def test_delivery_fails_after_its_time_limit(server, monkeypatch):
    monkeypatch.setattr(delivery, "DELIVERY_GIVE_UP_AFTER", timedelta(0))
    result, go = await rendered(server, monkeypatch)
    server.env.inject_error(*EDIT, status=500, times=None)
    go.set()
    await server.until_idle()
    assert (await row_of(server, result.response)).state == State.FAILED


async def test_progress_is_skipped_while_an_edit_hangs(server, monkeypatch):
    ways = server.service.runner.delivery
    result, go = await rendered(server, monkeypatch)
    (creation,) = server.service.runner._creations.values()
    with monkeypatch.context() as limited:
        limited.setattr(ways, "_send", never_ends)
        hanging = asyncio.ensure_future(ways.show(creation, None))
        await asyncio.sleep(0)
        assert await ways.show(creation, None)  # is not even tried
    go.set()
    await server.until_finished(result.response)
    assert await hanging


async def test_reply_by_token_alone_announces_its_time_limit(server, monkeypatch):
    monkeypatch.setattr(delivery, "TOKEN_MINUTES", 0.02)
    slow_down(server, monkeypatch)
    result = await server.env.create_user("carol").slash("imagine", prompt="red apple", steps=150)
    accepted = next(request for request in server.env.http_requests if request.path.endswith("/callback"))
    assert delivery.token_note() in accepted.json["data"]["content"]
    await server.until(lambda: "minutes in which I can answer here" in text_of(result.response))


async def test_full_queue_reply_has_the_time_to_retry(tiny_model):
    async with open_server(tiny_model, max_waiting=4, max_rows=2) as server:
        await server.alice.slash(server.channel, "imagine", prompt="one", steps=150, count=4)
        (job,) = server.service.jobs.values()
        await server.until(lambda: job.progress.completed > 5)
        refused = await server.bob.slash(server.channel, "imagine", prompt="two")
        assert re.search(r"try again <t:\d+:R>", private_text(refused))


async def test_delivery_posts_for_a_member_who_left(server, monkeypatch):
    result, go = await rendered(server, monkeypatch)
    server.guild.remove_member(server.alice)
    go.set()
    await server.until_idle()
    assert len(pictures_of(result.response)) == 1
    assert (await row_of(server, result.response)).state == State.DELIVERED
    again = await server.bob.click(result.response, label="Reroll")
    await server.until_finished(again.response)


async def test_delivery_uses_the_token_for_a_closed_channel(server, monkeypatch):
    result, go = await rendered(server, monkeypatch)
    closed = discord.Permissions(view_channel=True, send_messages=True).value
    server.env.backend.set_overwrite(server.channel.id, Overwrite(server.env.bot.user.id, OverwriteType.MEMBER, deny=closed))
    go.set()
    await server.until_idle()
    assert len(pictures_of(result.response)) == 1
    assert (await row_of(server, result.response)).state == State.DELIVERED


async def test_delivery_posts_in_an_archived_thread(server, monkeypatch):
    known = server.env.bot.get_channel(server.channel.id)
    await known.create_thread(name="late", type=discord.ChannelType.public_thread)
    (thread,) = server.channel.threads
    result, go = await rendered(server, monkeypatch, channel=thread)
    server.env.inject_error("PATCH", f"/channels/{thread.id}/messages/*", status=400, code=50083, times=None)
    go.set()
    await server.until_idle()
    assert len(pictures_of(result.response)) == 1
    again = await server.bob.click(result.response, label="Reroll")
    await server.until_finished(again.response)
    row = await row_of(server, result.response)
    shown = await server.bob.slash(server.channel, "show", id=str(row.id))
    assert any(map(pictures_of, filter(None, (shown.response, *shown.followups))))
