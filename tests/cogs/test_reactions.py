"""Reactions to pictures: an envelope sends them, a cross deletes them, a star keeps them."""

import pytest
from sqlalchemy import update

from bot import Darkroom
from cogs.core.config import Config
from cogs.core.storage.creations import Creation
from tests.support.jobs import row_of
from tests.support.messages import pictures_of, text_of
from tests.support.results import made
from tests.support.server import add_moderator


def direct_messages(server, member):
    channel = server.env.backend.get_dm_channel(member.id)
    return list(server.env.backend.messages[channel.id].values())


async def reacted(server, member, message, emoji):
    await member.react(message, emoji)
    await server.until_idle()


def is_there(server, message):
    return message.id in server.env.backend.messages[server.channel.id]


async def test_an_envelope_sends_the_pictures_to_the_member_once(server):
    message = await made(server, count=2)
    for emoji in ("✉️", "📩"):
        await reacted(server, server.bob, message, emoji)
    (sent,) = direct_messages(server, server.bob)
    assert [file["filename"] for file in sent.attachments] == [file.name for file in pictures_of(message)]
    assert not direct_messages(server, server.alice)


async def test_pictures_of_age_restricted_channels_are_not_sent(server):
    message = await made(server)
    row = await row_of(server, message)
    change = update(Creation).where(Creation.id == row.id).values(flags={"unsafe": 1.0}, age_restricted=True)
    async with server.service.database.transaction("") as session:
        await session.execute(change)
    await reacted(server, server.bob, message, "✉️")
    (sent,) = direct_messages(server, server.bob)
    assert not sent.attachments and "age-restricted channel" in sent.content


async def test_closed_direct_messages_harm_nothing(server):
    message = await made(server)
    server.env.inject_error("POST", "/channels/*/messages", status=403, code=50007)
    await reacted(server, server.bob, message, "✉️")
    assert is_there(server, message)


async def test_a_cross_deletes_for_the_owner_and_moderators_only(server):
    moderator = add_moderator(server)
    message, other = await made(server), await made(server)
    await reacted(server, server.bob, message, "❌")
    assert is_there(server, message)
    await reacted(server, server.alice, message, "❌")
    await reacted(server, moderator, other, "❌")
    assert not is_there(server, message) and not is_there(server, other)


async def test_reactions_to_pictures_that_are_shown_again_count_too(server):
    message = await made(server)
    row = await row_of(server, message)
    shown = await server.bob.slash(server.channel, "show", id=str(row.id))
    again = next(answer for answer in (shown.response, *shown.followups) if answer)
    await reacted(server, server.alice, again, "❌")
    assert not is_there(server, again) and is_there(server, message)


async def test_a_star_makes_a_favourite_until_it_is_taken_off(server):
    message = await made(server)
    row = await row_of(server, message)
    await reacted(server, server.bob, message, "⭐")
    assert (await server.service.stores.star_store.get(row.id)).stars == 1
    await server.bob.unreact(message, "⭐")
    await server.until_idle()
    assert not await server.service.starboard.take_back(server.bob.id, row.id)
    plain = await server.alice.send(server.channel, "hello")
    await reacted(server, server.bob, plain, "⭐")
    before = len(server.env.http_requests)
    await server.bob.unreact(plain, "⭐")
    await server.until_idle()
    assert len(server.env.http_requests) == before  # who has no star left costs Discord no request


@pytest.mark.parametrize("emoji", ["✉️", "❌"])
async def test_reactions_to_other_messages_do_nothing(server, emoji):
    theirs = await server.alice.send(server.channel, "hello")
    await reacted(server, server.alice, theirs, emoji)
    plain = await server.env.bot.get_channel(server.channel.id).send("hello")
    await reacted(server, server.alice, plain, emoji)
    assert is_there(server, theirs) and is_there(server, plain) and not direct_messages(server, server.alice)


async def test_other_reactions_do_nothing(server):
    message = await made(server)
    await reacted(server, server.alice, message, "👍")
    assert is_there(server, message) and "red apple" in text_of(message)


@pytest.mark.parametrize("are_on", [True, False])
async def test_the_bot_asks_for_reactions_only_where_they_are_on(server, are_on):
    bot = Darkroom(server.service, Config(reactions=are_on, _env_file=None))
    assert (bot.intents.guild_reactions, bot.intents.dm_reactions) == (are_on, are_on)
