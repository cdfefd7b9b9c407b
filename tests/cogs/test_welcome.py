"""The greeting to servers, the tip to members, and what is left of servers that removed the bot."""

from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock

import discord
import pytest
from sqlalchemy import func, select, update

from cogs.core.generation.maintenance import Maintenance
from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage.creations import Creation, State
from cogs.core.storage.gallery import PastCreationRow
from cogs.core.storage.servers import ServerRow
from cogs.core.storage.stars import StarRow
from tests.support.creations import creation
from tests.support.messages import png, text_of
from tests.support.server import open_server


def new_server(server):
    """A server that the bot is about to join, with a system channel."""
    guild = server.env.create_guild("new")
    channel = guild.create_text_channel("general")
    server.env.bot.get_guild(guild.id)._system_channel_id = channel.id  # the simulated Discord has none
    return guild, channel


async def join(server, guild):
    await server.env.bot.get_cog("WelcomeCog").on_guild_join(server.env.bot.get_guild(guild.id))


async def test_bot_greets_a_new_server_with_commands_to_click(server):
    guild, channel = new_server(server)
    await join(server, guild)
    (message,) = channel.history()
    assert "</imagine:" in message.content and "</help:" in message.content and "</setup server:" in message.content
    server.env.inject_error("POST", f"/channels/{channel.id}/messages", status=403, code=50013, times=1)
    await join(server, guild)  # a refusal stops nothing
    assert len(channel.history()) == 1


async def test_bot_is_silent_where_it_may_not_write_or_has_no_system_channel(server):
    guild, channel = new_server(server)
    me = server.env.bot.get_guild(guild.id).me
    known = server.env.bot.get_channel(channel.id)
    overwrite = discord.PermissionOverwrite(send_messages=False)
    await known.set_permissions(me, overwrite=overwrite)
    await join(server, guild)
    assert channel.history() == []
    await server.env.bot.get_cog("WelcomeCog").on_guild_join(server.env.bot.get_guild(server.guild.id))
    assert server.channel.history() == []


@pytest.fixture
async def tipping_server(tiny_model, monkeypatch):
    monkeypatch.setenv("TIPS", "true")
    async with open_server(tiny_model) as server:
        yield server


async def test_each_member_gets_one_tip_that_nobody_else_sees(tipping_server):
    server = tipping_server
    tips = []
    for turn in range(3):
        if turn == 2:
            await server.restart()
        made = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)
        await server.until_finished(made.response)
        await server.until_idle()
        tips += [each for each in made.followups if "Tip:" in text_of(each)]
    assert len(tips) == 1 and tips[0].ephemeral and "</favourites:" in tips[0].content


# servers that removed the bot


@pytest.fixture
def unattended(monkeypatch):
    """Let only the test delete data of servers."""
    monkeypatch.setattr(Maintenance, "delete_left_servers", AsyncMock())


@pytest.fixture
async def filled(unattended, server):
    """The server with settings and a starred picture, and another one with a picture made from it."""
    store = server.service.creation_store
    name = await server.service.image_store.save(png())
    place = {"guild_id": server.guild.id, "state": State.DELIVERED}
    await store.add(made := creation(1, pictures=[name], **place))
    await store.add(creation(2, parent_id=1, guild_id=77, state=State.DELIVERED))
    await server.service.stores.star_store.add(5, made)
    for scope, subject in ((Scope.SERVER, server.guild.id), (Scope.CHANNEL, server.channel.id), (Scope.MEMBER, 7)):
        await server.service.preference_store.set(scope, subject, Preferences(steps=9))
    return server


async def remove(server, days):
    """Let the bot have been removed so many days ago."""
    bot = server.env.bot
    await bot.get_cog("WelcomeCog").on_guild_remove(bot.get_guild(server.guild.id))
    await set_left(server, days)


async def set_left(server, days):
    async with server.service.database.transaction("") as session:
        left = datetime.now(UTC) - timedelta(days=days)
        await session.execute(update(ServerRow).where(ServerRow.left.is_not(None)).values(left=left))


async def count(server, table):
    async with server.service.database.reading("") as session:
        return await session.scalar(select(func.count()).select_from(table))


async def test_data_of_a_server_are_deleted_after_the_time_of_grace(filled):
    server = filled
    store = server.service.stores.server_store
    store.max_days = 30
    await remove(server, days=29)
    assert await store.delete_left() == 0 and await count(server, Creation) == 2
    await set_left(server, 31)
    store.max_days = None  # for ever
    assert await store.delete_left() == 0
    store.max_days = 30
    assert await store.delete_left() == 1
    get = server.service.preference_store.get
    assert get(Scope.SERVER, server.guild.id) == get(Scope.CHANNEL, server.channel.id) == Preferences()
    assert get(Scope.MEMBER, 7) == Preferences(steps=9)
    assert [await count(server, table) for table in (Creation, StarRow, PastCreationRow, ServerRow)] == [1, 0, 1, 0]
    assert not list(server.service.image_store.folder.rglob("*.png"))
    assert await store.delete_left() == 0


async def test_server_that_takes_the_bot_back_keeps_its_data(filled):
    server = filled
    store = server.service.stores.server_store
    store.max_days = 30
    await remove(server, days=31)
    await server.env.bot.get_cog("WelcomeCog").on_guild_join(server.env.bot.get_guild(server.guild.id))
    assert await store.delete_left() == 0 and await count(server, Creation) == 2


async def test_removal_while_the_bot_was_away_is_noticed(filled):
    server = filled
    store = server.service.stores.server_store
    store.max_days = 30
    await store.note_present([server.guild.id, 4242])
    await server.env.bot.get_cog("WelcomeCog").note_servers()
    assert 4242 not in await store.present() and server.guild.id in await store.present()
    await set_left(server, 31)
    assert await store.delete_left() == 1 and await count(server, Creation) == 2
