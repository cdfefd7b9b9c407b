import asyncio
import re
import time

import discord
import pytest

from cogs.core.generation import runner
from cogs.core.policy.limits import MemberLimits
from cogs.queue import MAX_LINES, MAX_SELECT_OPTIONS, CancelSelect, Entry, Queue, queue_text
from diffusion.result import Progress
from tests.support.interactions import forge_click
from tests.support.messages import private_text
from tests.support.server import add_moderator, open_server

SECONDS = 0.02
SELECT = 3


@pytest.fixture
async def busy(tiny_model, monkeypatch):
    """A server whose engine takes one guided picture at a time, slowly enough to look at the queue."""
    async with open_server(tiny_model, max_rows=2) as server:
        predict = server.engine.model.predict_noise

        def wait_and_predict(*rows):
            time.sleep(SECONDS)
            return predict(*rows)

        monkeypatch.setattr(server.engine.model, "predict_noise", wait_and_predict)
        yield server
        for job in list(server.service.jobs.values()):
            job.cancel()
        await server.until_idle()


async def asked(server, member, prompt, channel=None, **options):
    result = await member.slash(channel or server.channel, "imagine", **{"prompt": prompt, "steps": 150} | options)
    await server.until(lambda: any(job.request.prompt == prompt for job in server.service.jobs.values()))
    return result


async def seen(server, member, channel=None):
    return (await member.slash(channel or server.channel, "queue")).response


async def timed(server):
    """Wait until the engine knows its pace."""
    await server.until(lambda: None not in server.engine.estimate_completion().values())


def offered(message):
    """The prompts that the select lets this member cancel."""
    return [option["label"] for row in message.components for child in row["components"] for option in child.get("options", [])]


async def test_queue_without_requests_says_so(server):
    result = await server.alice.slash(server.channel, "queue")
    assert private_text(result).startswith("Nobody is waiting")


async def test_queue_shows_order_and_completion_times(busy):
    await asked(busy, busy.alice, "first")
    await asked(busy, busy.alice, "second", steps=90)
    await asked(busy, busy.alice, "fourth")
    await asked(busy, busy.bob, "third", steps=90)
    await timed(busy)
    message = await seen(busy, busy.bob)
    assert message.ephemeral
    *lines, note = message.content.splitlines()
    first, second, third, fourth = (
        next(line for line in lines if f"**{name}**" in line) for name in ("first", "second", "third", "fourth")
    )
    assert re.fullmatch(rf"▶ \*\*first\*\* · <@{busy.alice.id}> · [▰▱]{{8}} \d+ % · done <t:\d+:R>", first)
    assert re.fullmatch(rf"`\d\.` \*\*second\*\* · <@{busy.alice.id}> · (next · )?done <t:\d+:R>", second)
    assert re.fullmatch(rf"(▶|`\d\.`) \*\*third\*\* · <@{busy.bob.id}> · .*done <t:\d+:R>", third)  # may pause the first
    assert lines[-1] == fourth and "is next" in note
    times = [int(text) for text in re.findall(r"<t:(\d+):R>", message.content)]
    assert len(times) == 4 and len(set(times)) > 1  # one that waits may overtake another


async def test_waiting_request_names_the_time_that_it_will_take(busy):
    await asked(busy, busy.alice, "first")
    await timed(busy)
    second = (await asked(busy, busy.bob, "second")).response
    third = (await asked(busy, busy.alice, "third")).response
    for message, place in ((second, "Next in line…"), (third, "In the queue, 1 picture before yours…")):
        _, state = message.content.splitlines()
        assert re.fullmatch(rf"{place} · ready <t:\d+:R>", state)
    ends = [int(re.search(r"<t:(\d+):R>", message.content)[1]) for message in (second, third)]
    assert time.time() < ends[0] <= ends[1]


async def test_time_of_a_waiting_request_is_no_reason_for_an_edit(busy, monkeypatch):
    monkeypatch.setattr(runner, "EDIT_SECONDS", 0)
    monkeypatch.setattr(runner, "ESTIMATE_SECONDS", -1)
    await asked(busy, busy.alice, "first")
    await timed(busy)
    shown = []
    delivery = busy.service.runner.delivery
    announce = delivery.announce

    def recorded(creation, answer, **options):
        shown.append(answer.text)
        return announce(creation, answer, **options)

    monkeypatch.setattr(delivery, "announce", recorded)
    await asked(busy, busy.bob, "second")
    job = next(job for job in busy.service.jobs.values() if job.request.prompt == "second")
    for total in range(3):
        job.report(Progress(0, 0, total))
        await asyncio.sleep(0)
    assert not any("second" in text for text in shown)


async def test_queue_pings_nobody(busy):
    await asked(busy, busy.alice, "@everyone `fox` **fox**")
    message = await seen(busy, busy.bob)
    stored = busy.env.backend.get_message(busy.channel.id, message.id)
    assert not stored.ping_user_ids and not stored.mention_everyone and "@everyone" not in message.content


async def test_queue_hides_the_prompt_of_a_private_request(busy):
    await asked(busy, busy.alice, "secret", private=True)
    assert "secret" not in (await seen(busy, busy.bob)).content
    assert "*private*" in (await seen(busy, busy.bob)).content
    assert "secret" in (await seen(busy, busy.alice)).content


async def test_queue_hides_prompts_of_unreadable_channels(busy):
    hidden = busy.guild.create_text_channel("hidden", overwrites={busy.bob: discord.PermissionOverwrite(view_channel=False)})
    await asked(busy, busy.alice, "secret", channel=hidden)
    assert "secret" not in (await seen(busy, busy.bob)).content
    assert "secret" in (await seen(busy, busy.alice)).content


async def test_queue_counts_requests_of_other_servers(busy):
    other = busy.env.create_guild()
    there = other.create_text_channel("art")
    carol = other.add_member(busy.env.create_user("carol"))
    await asked(busy, carol, "secret", channel=there)
    await asked(busy, busy.alice, "mine")
    content = (await seen(busy, busy.alice)).content
    assert "secret" not in content and str(carol.id) not in content
    assert "`1.` **mine**" not in content or "1 request from another server" in content
    assert "1 request from another server or channel shares this queue" in content


async def test_queue_lets_members_cancel_their_own_requests(busy):
    await asked(busy, busy.bob, "theirs")
    mine = await asked(busy, busy.alice, "mine")
    message = await seen(busy, busy.alice)
    assert offered(message) == ["mine"]
    (creation,) = [id for id, job in busy.service.jobs.items() if job.request.prompt == "mine"]
    shown = await busy.alice.select(message, [str(creation)])
    assert "mine" not in shown.response.content and offered(shown.response) == []
    await busy.until(lambda: "Cancelled" in mine.response.content)


async def test_queue_lets_moderators_cancel_in_their_server(busy):
    other = busy.env.create_guild()
    there = other.create_text_channel("art")
    await asked(busy, other.add_member(busy.env.create_user("carol")), "elsewhere", channel=there)
    theirs = await asked(busy, busy.bob, "theirs")
    moderators = add_moderator(busy)
    message = await seen(busy, moderators)
    assert offered(message) == ["theirs"]
    (creation,) = [id for id, job in busy.service.jobs.items() if job.request.prompt == "theirs"]
    await moderators.select(message, [str(creation)])
    await busy.until(lambda: "Cancelled" in theirs.response.content)


async def test_cancel_button_works_for_moderators(busy):
    theirs = await asked(busy, busy.bob, "theirs")
    await add_moderator(busy).click(theirs.response, label="Cancel")
    await busy.until(lambda: "Cancelled" in theirs.response.content)


async def test_queue_refuses_to_cancel_a_request_of_another_member(busy):
    theirs = await asked(busy, busy.bob, "theirs")
    (creation,) = busy.service.jobs
    await asked(busy, busy.alice, "mine")
    message = await seen(busy, busy.alice)
    forged = {"component_type": SELECT, "values": [str(creation)]}
    refused = await forge_click(busy, busy.alice, message, "darkroom:queue:cancel", **forged)
    assert "cannot be chosen here" in private_text(refused)
    assert not busy.service.jobs[creation].done and "Cancelled" not in theirs.response.content


async def test_queue_explains_that_a_request_has_ended(busy):
    await asked(busy, busy.alice, "mine")
    message = await seen(busy, busy.alice)
    (creation,) = busy.service.jobs
    busy.service.jobs[creation].cancel()
    await busy.until_idle()
    refused = await busy.alice.select(message, [str(creation)])
    assert "cancelled already" in private_text(refused)


async def test_queue_refreshes_in_place_after_a_restart(busy):
    await asked(busy, busy.alice, "first")
    message = await seen(busy, busy.bob)
    await busy.restart()
    await busy.until(lambda: busy.service.jobs)
    await asked(busy, busy.bob, "second")
    shown = await busy.bob.click(message, label="Refresh")
    assert shown.response.id == message.id and offered(shown.response) == ["second"]
    assert "**first**" in shown.response.content


async def test_queue_in_a_direct_message_shows_that_conversation(busy):
    await asked(busy, busy.alice, "there")
    bob = busy.env.create_user("direct")
    await bob.slash("imagine", prompt="here", steps=150)
    await busy.until(lambda: len(busy.service.jobs) == 2)
    content = (await bob.slash("queue")).response.content
    assert "here" in content and "there" not in content and "1 request from another server" in content


async def test_unfinished_requests_of_a_member_are_limited(busy):
    busy.service.rules.limits = MemberLimits(unfinished=2)
    await asked(busy, busy.alice, "first")
    await asked(busy, busy.alice, "second")
    refused = await busy.alice.slash(busy.channel, "imagine", prompt="third")
    assert "2 unfinished requests" in private_text(refused) and "/queue" in private_text(refused)
    await asked(busy, busy.bob, "somebody else's")


async def test_queue_shows_a_pause_without_times(busy):
    await asked(busy, busy.alice, "first")
    await timed(busy)
    busy.engine.pause()
    content = (await seen(busy, busy.alice)).content
    assert "paused" in content and "<t:" not in content
    busy.engine.resume()
    assert "paused" not in (await seen(busy, busy.alice)).content


async def test_queue_shows_a_request_of_a_deleted_channel(busy):
    doomed = busy.guild.create_text_channel("doomed")
    await asked(busy, busy.alice, "first", channel=doomed)
    busy.env.backend.delete_channel(doomed.id)
    assert "*private*" in (await seen(busy, busy.bob)).content
    assert offered(await seen(busy, busy.alice)) == ["first"]


def entry(number, **values):
    settings = {"owner": 10**18, "prompt": "*" * 1000, "progress": Progress(0, 0, 20), "place": number, "cancellable": True}
    return Entry(**{"id": number, "done": discord.utils.utcnow()} | settings | values)


def test_long_queue_fits_one_message():
    text = queue_text(Queue([entry(number) for number in range(200)], 50))
    assert len(text) <= 2000 and f"and {200 - MAX_LINES} more" in text


def test_queue_text_without_a_pace_has_no_times():
    assert "<t:" not in queue_text(Queue([entry(0, done=None)], 0))


def test_cancel_select_stays_within_discords_limit():
    shown = CancelSelect([entry(number, prompt="x" * 1000) for number in range(100)]).item
    assert len(shown.options) == MAX_SELECT_OPTIONS and all(len(option.label) <= 100 for option in shown.options)
