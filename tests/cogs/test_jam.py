"""/jam from its start to the winner, and all that can come between."""

import json
from datetime import UTC, datetime

import discord
from sqlalchemy import func, select

from cogs.core.request.preferences import FlaggedAction, Preferences, Scope
from cogs.core.storage.jam_rows import CrownRow, JamEntryRow, JamRow, JamVoteRow
from tests.support.actions import has_actions
from tests.support.messages import private_message, private_text, text_of
from tests.support.pressing import press
from tests.support.server import add_moderator

HIDDEN = "The prompts stay hidden"


async def started(server, **options):
    """The message of a new jam."""
    result = await server.alice.slash(server.channel, "jam start", **{"theme": "autumn", "minutes": 10} | options)
    return result.response


async def join(member, message, prompt):
    """What a member reads who submits a prompt."""
    form = await member.click(message, label="Join")
    return await member.submit_modal(form, {"prompt": prompt})


def history(server):
    return sorted(server.channel.history(), key=lambda message: message.id)


async def found(server, words):
    """The message of the channel that says ``words``, as soon as there is one."""
    return await server.until(lambda: next((each for each in history(server) if words in text_of(each)), None))


async def end(server, member=None):
    return private_text(await (member or server.alice).slash(server.channel, "jam end"))


async def vote(server, member, jam_id, number):
    return await press(server, member, f"darkroom:jam:vote:{jam_id}:{number}")


async def numbers_of(server):
    """The number of each member's picture."""
    async with server.service.database.reading("") as session:
        return {row.member: row.number for row in await session.scalars(select(JamEntryRow))}


async def jam_id_of(server):
    async with server.service.database.reading("") as session:
        return await session.scalar(select(JamRow.id))


async def counts(server):
    async with server.service.database.reading("") as session:
        tables = (JamRow, JamEntryRow, JamVoteRow, CrownRow)
        return [await session.scalar(select(func.count()).select_from(table)) for table in tables]


async def test_a_jam_from_its_start_to_its_winner_across_restarts(server):
    carol = server.guild.add_member(server.env.create_user("carol"))
    message = await started(server)
    assert "another channel" in private_text(await server.bob.slash(server.channel, "jam start", theme="x", minutes=1))
    assert "Only the member who started" in await end(server, server.bob)
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, Preferences(words=("gun",)))
    for member, prompt in ((server.alice, "red leaf"), (server.bob, "green leaf"), (carol, "blue leaf")):
        assert "You take part with" in private_text(await join(member, message, f"{prompt} --steps 2"))
    refused = private_message(await join(server.bob, message, "a gun"))
    assert "do not allow “gun”" in text_of(refused)
    again = await server.bob.click(refused, label="Edit again")
    assert again.modal["components"][0]["component"]["value"] == "a gun"
    assert "You take part" in private_text(await server.bob.submit_modal(again, {"prompt": "gold leaf --steps 2"}))
    for typed, words in (
        ("   ", "needs a prompt"),
        ("{red|blue} leaf", "one picture of each member"),
        ("x --steps 999", "150"),
    ):
        assert words in private_text(await join(server.bob, message, typed))
    shown = text_of(await found(server, "3 members take part"))
    assert HIDDEN in shown and "leaf" not in shown and "autumn" in shown
    await server.restart()
    assert "ends now" in await end(server)
    ballot = await found(server, "Vote for the best picture")
    drawn = [each for each in history(server) if has_actions(each)]
    assert len(drawn) == 3 and all(words in text_of(ballot) for words in ("red leaf", "gold leaf", "blue leaf"))
    assert "green leaf" not in "".join(map(text_of, history(server))) and f"<@{carol.id}>" not in text_of(ballot)
    jam_id, numbers = await jam_id_of(server), await numbers_of(server)
    assert sorted(numbers.values()) == [1, 2, 3]
    assert "no more prompts" in await press(server, carol, f"darkroom:jam:join:{jam_id}")
    assert "your own picture" in await vote(server, server.bob, jam_id, numbers[server.bob.id])
    assert "picture is gone" in await vote(server, server.bob, jam_id, 9)
    assert "You voted" in await vote(server, server.alice, jam_id, numbers[carol.id])
    await server.restart()
    assert "You voted" in await vote(server, server.alice, jam_id, numbers[server.bob.id])
    assert "You voted" in await vote(server, carol, jam_id, numbers[server.bob.id])
    assert "The vote ends now" in await end(server)
    winner = await found(server, "wins with 2 votes")
    await found(server, "This jam is over")
    assert f"<@{server.bob.id}>" in text_of(winner) and [user.id for user in winner.mentions] == [server.bob.id]
    (pinned,) = server.channel.pinned_messages()
    assert "gold leaf" in text_of(pinned)
    assert "gold leaf" in text_of(await found(server, "2 votes")) and await counts(server) == [0, 0, 0, 1]
    assert [len([each for each in history(server) if words in text_of(each)]) for words in ("wins with", "vote is over")] == [
        1,
        1,
    ]
    assert "The vote is over" in await vote(server, server.alice, jam_id, 1)
    gallery = private_message(await carol.slash(server.channel, "gallery", period="jams"))
    assert "gold leaf" in text_of(gallery) and "winner of the jam “autumn”" in text_of(gallery)
    assert "Create Expressions" in private_text(await server.bob.click(winner, label="Make emoji"))


async def test_forgetting_a_tie_a_member_who_left_and_pictures_that_are_missing(server):
    members = [server.guild.add_member(server.env.create_user(f"member{number}")) for number in range(4)]
    message = await started(server, prompts="open", voting=3)
    store = server.service.preference_store
    for member in (server.alice, server.bob, *members):
        await join(member, message, f"leaf of {member.name} --steps 2")
    assert "- <@" in text_of(await found(server, f"leaf of {server.bob.name}"))
    assert "do not take part in this jam any more" in private_text(await members[3].click(message, label="Leave"))
    assert "Press Join" in private_text(await members[3].click(message, label="Leave"))
    await store.set(Scope.SERVER, server.guild.id, Preferences(allowance=0))
    assert "limit of 0 pictures" in private_text(await join(members[3], message, "leaf"))
    await store.set(Scope.SERVER, server.guild.id, Preferences())
    server.guild.remove_member(members[0])
    exported = {
        document.name: json.loads(document.data) async for document in server.service.personal_data.export(members[1].id)
    }
    assert [entry["request"]["prompt"] for entry in exported["jam_entries.json"]] == [f"leaf of {members[1].name}"]
    await server.service.personal_data.delete(members[1].id, 2**63 - 1)
    await end(server)
    ballot = await found(server, "Vote for the best picture")
    jam_id, numbers = await jam_id_of(server), await numbers_of(server)
    assert set(numbers) == {server.alice.id, server.bob.id, members[2].id}
    for voter, choice in ((server.alice, server.bob), (server.bob, server.alice)):
        await vote(server, voter, jam_id, numbers[choice.id])
    (gone,) = [row for row in (await server.service.stores.jam_store.creations(jam_id)).values() if row.owner == members[2].id]
    await server.service.creation_store.forget_messages([gone.message_id])
    assert "is gone" in await vote(server, server.alice, jam_id, numbers[members[2].id])
    moderator = add_moderator(server)
    assert "vote ends now" in await end(server, moderator)
    text = text_of(await found(server, "It is a tie"))
    assert f"<@{server.alice.id}>" in text and f"<@{server.bob.id}>" in text
    assert "1 picture is not shown" in text_of(await found(server, "The vote is over")) and ballot.id
    assert len(server.channel.pinned_messages()) == 2 and await counts(server) == [0, 0, 0, 2]
    await server.service.personal_data.delete(server.alice.id, 2**63 - 1)
    assert await counts(server) == [0, 0, 0, 1]


async def test_jams_without_a_contest_and_cancelled_ones(server):
    assert "no jam in this channel" in await end(server)
    await started(server)
    await end(server)
    await found(server, "Nobody wrote a prompt")
    await server.until(lambda: _is_over(server))
    message = await started(server, theme="one")
    await join(server.bob, message, "leaf --steps 2")
    await end(server)
    await found(server, "theirs is the only picture")
    await server.until(lambda: _is_over(server))
    message = await started(server, theme="none")
    for member in (server.alice, server.bob):
        await join(member, message, "leaf --steps 2")
    await end(server)
    await found(server, "Vote for the best picture")
    await end(server)
    await found(server, "Nobody voted")
    await server.until(lambda: _is_over(server))
    message = await started(server, theme="cancelled")
    await join(server.bob, message, "leaf --steps 100")
    server.engine.pause()
    await end(server)
    await server.until(lambda: server.service.jobs)
    assert "drawn now" in await end(server)
    assert "is cancelled" in private_text(await add_moderator(server).slash(server.channel, "jam cancel"))
    await found(server, "This jam was cancelled")
    server.engine.resume()
    await server.until(lambda: _is_over(server))
    async with server.service.database.reading("") as session:
        assert await session.scalar(select(func.count()).select_from(CrownRow)) == 1


async def test_jams_that_cannot_begin_or_go_on(flagging_server):
    server = flagging_server
    await server.service.preference_store.set(
        Scope.SERVER, server.guild.id, Preferences(words=("gun",), flagged=FlaggedAction.REFUSE)
    )
    for theme, words in (("a gun", "do not allow"), ("\u200b", "needs a theme")):
        refused = await server.alice.slash(server.channel, "jam start", theme=theme, minutes=1)
        assert words in private_text(refused)
    mute = discord.PermissionOverwrite(send_messages=False)
    closed = server.guild.create_text_channel("closed", overwrites={server.env.bot.user: mute})
    assert "I need the permissions" in private_text(await server.alice.slash(closed, "jam start", theme="x", minutes=1))
    unpinned = discord.PermissionOverwrite(pin_messages=False)
    plain = server.guild.create_text_channel("plain", overwrites={server.env.bot.user: unpinned})
    result = await server.alice.slash(plain, "jam start", theme="x", minutes=1)
    assert "will not pin the winner" in text_of(result.followups[0]) and "x" in text_of(result.response)
    await server.alice.slash(plain, "jam cancel")
    message = await started(server)
    await join(server.bob, message, "leaf --steps 2")
    await end(server)
    await found(server, "None of its pictures can be shown")
    await server.until(lambda: _is_over(server))
    message = await started(server)
    await join(server.bob, message, "leaf --steps 2")
    await server.service.stores.jam_store.update(await jam_id_of(server), ends=datetime(2026, 1, 1, tzinfo=UTC))
    server.env.backend.delete_channel(server.channel.id)
    server.env.bot.get_cog("JamCog").host.wake(await jam_id_of(server))
    await server.until(lambda: _is_over(server))
    direct = server.env.backend.get_dm_channel(server.alice.id)
    await server.until(lambda: "I cannot write there" in str(server.env.backend.messages[direct.id]))


async def _is_over(server):
    return (await counts(server))[0] == 0
