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

from cogs.core.messages import delivery, routes, uploads
from cogs.core.storage.creations import State
from diffusion.images.io import read_image
from tests.support.jobs import hold_steps, never_ends, row_of
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


SHOWN = "the message with its pictures"
REPLY = "a new message that refers to the first"
LOSSLESS = "sent as lossless WebP, because the file was too large here"
HALF = "sent as WebP at half the size, because the message was too large here"
FAULTS = [
    Fault("none", [], SHOWN),
    Fault("late: none", [], SHOWN, expired=True),
    Fault(
        "late: message older than an hour", [always(EDIT, 400, 30046)], "a new message that refers to the first", expired=True
    ),
    Fault("late: message deleted", [always(EDIT, 404, 10008)], "a new message that refers to the first", expired=True),
    Fault("message deleted", [always(TOKEN_EDIT, 404, 10008)], "a new message that refers to the first"),
    Fault("token unknown", [always(TOKEN_EDIT, 404, 10015)], SHOWN),
    Fault("the bot may not see the channel", [always(EDIT, 403, 50001)], SHOWN),
    Fault("the bot may not post", [always(EDIT, 403, 50013)], SHOWN),
    Fault("the thread is archived for the token", [always(TOKEN_EDIT, 400, 50083)], SHOWN),
    Fault("late: the bot may not post", [always(EDIT, 403, 50013)], "a direct message", expired=True),
    Fault(
        "late: message deleted, no permission to reply",
        [always(EDIT, 404, 10008), (NEW, 400, 160002, 1)],
        "a direct message",
        expired=True,
    ),
    Fault(
        "message deleted and no permission to post",
        [always(NEW, 403, 50013), always(TOKEN_EDIT, 404, 10008)],
        "a follow-up of the interaction",
    ),
    Fault(
        "late: no permission, direct messages closed",
        [always(EDIT, 403, 50001), always(NEW, 403, 50007)],
        "nothing; the journal has the reason",
        State.FAILED,
        expired=True,
        error="Discord rejected the answer: 403",
    ),
    Fault("late: the channel is gone", [always(EDIT, 404, 10003)], "a direct message", expired=True),
    Fault(
        "late: the channel is gone, direct messages closed",
        [always(EDIT, 404, 10003), always(NEW, 403, 50007)],
        "nothing; the journal has the reason",
        State.FAILED,
        expired=True,
        error="403",
    ),
    Fault("files too large once (413)", [(TOKEN_EDIT, 413, 0, 1)], LOSSLESS),
    Fault(
        "files too large once (50045)",
        [(TOKEN_EDIT, 400, 50045, 1)],
        "sent as lossless WebP, because the file was too large here",
    ),
    Fault("files too large twice (40005)", [(TOKEN_EDIT, 413, 40005, 2)], "sent as WebP, because the file was too large here"),
    Fault("three times", [(TOKEN_EDIT, 413, 40005, 3)], HALF),
    Fault("files too large in any form", [(TOKEN_EDIT, 413, 40005, 5)], "the message with one sentence", State.FAILED),
    Fault("files too large in any form (50045)", [(TOKEN_EDIT, 400, 50045, 5)], "the message with one sentence", State.FAILED),
    Fault("rate limit (429)", [(TOKEN_EDIT, 429, 0, 2)], SHOWN),
    Fault("late: rate limit (429)", [(EDIT, 429, 0, 2)], SHOWN, expired=True),
    Fault("Discord fails (500, 502, 503)", [(TOKEN_EDIT, 500, 0, 1), (TOKEN_EDIT, 502, 0, 1), (TOKEN_EDIT, 503, 0, 1)], SHOWN),
    Fault("private", [], SHOWN, private=True),
    Fault("private, token expired", [always(TOKEN_EDIT, 404, 10015)], "a direct message", private=True),
    Fault("private, message dismissed", [always(TOKEN_EDIT, 404, 10008)], "a private follow-up", private=True),
    Fault("private, Discord fails (500)", [(TOKEN_EDIT, 500, 0, 2)], SHOWN, private=True),
    Fault("pictures that Discord calls invalid", [(TOKEN_EDIT, 400, 50035, 1)], "the message with one sentence", State.FAILED),
    Fault("a refusal that nobody knows", [(TOKEN_EDIT, 400, 99999, 1)], "the message with one sentence", State.FAILED),
]
REFUSALS = {
    "AutoMod": (200000, delivery.BLOCKED),
    "harmful links": (240000, delivery.BLOCKED),
    "explicit content": (20009, delivery.BLOCKED),
    "too large": (50045, uploads.TOO_LARGE),
    "a refusal that nobody knows": (99999, delivery.NOT_TAKEN),
}


ENDS = (uploads.TOO_LARGE, delivery.NOT_TAKEN, delivery.BLOCKED)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("cogs.core.tasks.FIRST_WAIT_SECONDS", 0.01)


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
    for followup in filter(pictures_of, result.followups):
        return "a private follow-up" if followup.ephemeral else "a follow-up of the interaction"
    if pictures_of(history[-1]) and history[-1].reference.message_id == message.id:
        return "a new message that refers to the first"
    if text_of(message).splitlines()[-1] in ENDS:
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


def refuse(server, request, code, times=None):
    server.env.inject_error(*request, status=400, code=code, times=times)


def direct_messages(server):
    channel = server.env.backend.get_dm_channel(server.alice.id)
    return [message.content for message in server.env.backend.messages[channel.id].values()]


@pytest.mark.parametrize(("code", "sentence"), REFUSALS.values(), ids=REFUSALS)
async def test_refused_words_end_in_a_sentence_without_them(server, monkeypatch, code, sentence):
    result, go = await rendered(server, monkeypatch)
    refuse(server, TOKEN_EDIT, code, 6 if code == 50045 else 2)  # the pictures in each size, and the words
    go.set()
    await server.until_idle()
    assert text_of(result.response).strip() == sentence
    assert result.response.components == [] and not pictures_of(result.response)
    assert (await row_of(server, result.response)).state == State.FAILED


@pytest.mark.parametrize(("code", "sentence"), REFUSALS.values(), ids=REFUSALS)
async def test_wholly_refused_answer_reaches_its_member_alone(server, monkeypatch, code, sentence):
    result, go = await rendered(server, monkeypatch)
    refuse(server, TOKEN_EDIT, code)
    go.set()
    await server.until_idle()
    (followup,) = result.followups
    assert followup.ephemeral and followup.content == sentence
    assert server.channel.history() == []  # the message that would have promised pictures for ever is gone
    await server.env.settle()  # what follows from its deletion


@pytest.mark.parametrize(("code", "sentence"), REFUSALS.values(), ids=REFUSALS)
async def test_answer_refused_after_the_token_is_a_direct_message(server, monkeypatch, code, sentence):
    _, go = await rendered(server, monkeypatch)
    (creation,) = server.service.runner._creations.values()
    creation.expires -= timedelta(minutes=15)
    refuse(server, EDIT, code)
    go.set()
    await server.until_idle()
    assert direct_messages(server)[-1].endswith(sentence)
    assert server.channel.history() == []


@pytest.mark.parametrize("times", [1, None], ids=["words", "everything"])
async def test_refused_end_of_a_cancelled_request_leaves_no_button(server, monkeypatch, times):
    may_continue = hold_steps(server, monkeypatch)
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=20)
    monkeypatch.setattr(server.service.runner.delivery, "announce", answers_true)
    refuse(server, TOKEN_EDIT, 200000, times)
    await server.alice.click(result.response, label="Cancel")
    may_continue.set()
    await server.until_idle()
    left = [(text_of(message).strip(), message.components) for message in server.channel.history()]
    assert left == ([] if times is None else [("Cancelled.", [])])


async def test_refused_first_answer_is_explained_to_its_member(server):
    refuse(server, ("POST", "/interactions/*/*/callback"), 200000, 1)
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple")
    assert private_text(result).startswith("The message filter of this server")


async def answers_true(*_, **__):
    return True


async def test_smaller_picture_keeps_its_name_text_and_buttons(server, monkeypatch):
    result, go = await rendered(server, monkeypatch)
    server.env.inject_error(*TOKEN_EDIT, status=413, code=40005, times=3)
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

    async def unplugged(*answer, **options):
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError("no route to host")
        return await go(*answer, **options)

    monkeypatch.setattr(ways, "_send", unplugged)
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2)
    await server.until_finished(result.response)


async def test_delivery_fails_after_its_time_limit(server, monkeypatch):
    monkeypatch.setattr(delivery, "DELIVERY_GIVE_UP_AFTER", timedelta(0))
    result, go = await rendered(server, monkeypatch)
    server.env.inject_error(*TOKEN_EDIT, status=500, times=None)
    go.set()
    await server.until_idle()
    assert (await row_of(server, result.response)).state == State.FAILED


async def test_progress_is_skipped_while_an_edit_hangs(server, monkeypatch):
    ways = server.service.runner.delivery
    result, go = await rendered(server, monkeypatch)
    (creation,) = server.service.runner._creations.values()
    with monkeypatch.context() as limited:
        limited.setattr(ways, "_send", never_ends)
        hanging = asyncio.ensure_future(ways.announce(creation, None, waits=False))
        await asyncio.sleep(0)
        assert await ways.announce(creation, None, waits=False)  # is not even tried
    go.set()
    await server.until_finished(result.response)
    assert await hanging


async def test_reply_by_token_alone_announces_its_time_limit(server, monkeypatch):
    monkeypatch.setattr(routes, "DELIVERY_TIME", timedelta(minutes=14.98))
    may_continue = hold_steps(server, monkeypatch)
    result = await server.env.create_user("carol").slash("imagine", prompt="red apple", steps=150)
    accepted = next(request for request in server.env.http_requests if request.path.endswith("/callback"))
    assert routes.token_note() in accepted.json["data"]["content"]
    await server.until(lambda: "minutes in which I can answer here" in text_of(result.response))
    may_continue.set()


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
