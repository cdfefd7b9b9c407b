"""Stars under pictures, /favourites, /gallery and the starboard."""

from datetime import UTC, datetime, timedelta

import discord
import pytest
from simcord.components import walk_components
from sqlalchemy import func, select, update

from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage import stars
from cogs.core.storage.creations import Creation, State
from cogs.core.storage.gallery import PAGE_SIZE
from cogs.core.storage.stars import StarredRow, StarRow
from cogs.favourites.cog import NO_FAVOURITES, NO_STARS
from tests.support.creations import creation
from tests.support.messages import pictures_of, png, private_message, text_of
from tests.support.pressing import press
from tests.support.server import add_moderator


@pytest.fixture
def kept(server):
    """Write a creation of alice down as if it had been delivered to the channel."""

    async def keep(number, **values):
        name = await server.service.image_store.save(png())
        place = {"guild_id": server.guild.id, "channel_id": server.channel.id, "message_id": number}
        row = creation(number, **{"owner": server.alice.id, "state": State.DELIVERED, "pictures": [name]} | place | values)
        row.request = row.request | {"prompt": f"picture {number}"}
        await server.service.creation_store.add(row)
        return row

    return keep


@pytest.fixture
def now():
    return discord.utils.time_snowflake(datetime.now(UTC))


async def star(server, member, row):
    return await press(server, member, f"darkroom:result:star:{row.owner}:{row.id}:0")


async def listed(server, command, member=None, **options):
    return private_message(await (member or server.alice).slash(server.channel, command, **options))


def shown(message):
    return [line.split("**")[1] for line in text_of(message).splitlines() if line.startswith("**")]


def labels(message):
    components = walk_components(message.components)
    return [each["label"] for each in components if each.get("label") and each["type"] == 2 and not each.get("disabled")]


async def board_of(server, stars=1, **changes):
    board = server.guild.create_text_channel("starboard")
    await server.service.preference_store.set(
        Scope.SERVER, server.guild.id, Preferences(starboard=board.id, star_threshold=stars, **changes)
    )
    return board


async def count(server, table):
    async with server.service.database.reading("") as session:
        return await session.scalar(select(func.count()).select_from(table))


async def test_star_adds_to_the_favourites_and_a_second_press_takes_it_off(server, kept):
    row = await kept(1)
    assert "one of your favourites now" in await star(server, server.bob, row)
    assert shown(await listed(server, "favourites", server.bob)) == ["picture 1"]
    assert "none of your favourites" in await star(server, server.bob, row)
    assert NO_FAVOURITES in text_of(await listed(server, "favourites", server.bob))


async def test_nobody_stars_twice(server, kept):
    row = await kept(1)
    starboard = server.service.starboard
    assert [await starboard.give(member, row) for member in (5, 5, 6)] == [True, False, True]
    assert (await server.service.stores.star_store.get(row.id)).stars == 2
    assert [await starboard.take_back(member, row.id) for member in (5, 5, 7)] == [True, False, False]
    assert (await server.service.stores.star_store.get(row.id)).stars == 1


async def test_star_of_a_deleted_picture_or_beyond_the_most_is_refused(server, kept, monkeypatch):
    monkeypatch.setattr(stars, "MAX_FAVOURITES", 1)
    await star(server, server.bob, await kept(1))
    assert "You have 1 favourite, which is the most" in await star(server, server.bob, await kept(2))
    unfinished = await kept(3, state=State.RUNNING)
    assert "have been deleted" in await star(server, server.alice, unfinished)
    assert "are gone" in await star(server, server.alice, creation(4))


async def test_favourites_have_pages_and_a_search_that_survive_a_restart(server, kept):
    for number in range(1, PAGE_SIZE + 3):
        await server.service.starboard.give(server.alice.id, await kept(number))
    message = await listed(server, "favourites", search="Picture")
    assert shown(message) == [f"picture {number}" for number in range(PAGE_SIZE + 2, 2, -1)] and labels(message) == ["Older"]
    await server.restart()
    older = (await server.alice.click(message, label="Older")).response
    assert shown(older) == ["picture 2", "picture 1"] and labels(older) == ["Newer"]
    assert shown((await server.alice.click(older, label="Newer")).response) == shown(message)
    assert shown(await listed(server, "favourites", search="ure 3")) == ["picture 3"]
    assert "no favourites here with “\\*fox”" in text_of(await listed(server, "favourites", search="*fox"))


async def test_favourites_show_one_again(server):
    made = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2)
    await server.until_finished(made.response)
    await server.until_idle()
    row = await server.service.creation_store.get_by_message(made.response.id)
    await star(server, server.bob, row)
    message = await listed(server, "favourites", server.bob)
    again = await server.bob.select(message, [row.short_id])
    assert len(pictures_of(private_message(again))) == 1


HIDDEN = {
    "private": {"private": True},
    "deleted": {"message_id": None},
    "flagged in an age-restricted channel": {"flags": {"nsfw": 0.9}, "age_restricted": True},
    "of another server": {"guild_id": 1},
    "in a channel that is gone": {"channel_id": 1},
    "unfinished": {"state": State.FAILED},
}


async def test_hidden_pictures_appear_nowhere(server, kept, now):
    board = await board_of(server)
    for number, values in enumerate(HIDDEN.values()):
        row = await kept(now + number)
        await server.service.starboard.give(server.bob.id, row)
        await server.until_idle()
        async with server.service.database.transaction("") as session:
            await session.execute(update(Creation).where(Creation.id == row.id).values(**values))
        other = await kept(now + 100 + number, **values)
        await star(server, server.alice, other)
        await star(server, server.bob, other)
    assert len(board.history()) == len(HIDDEN)  # those that were starred before they were hidden
    assert NO_FAVOURITES in text_of(await listed(server, "favourites", server.bob))
    assert NO_STARS in text_of(await listed(server, "gallery", server.bob))


async def test_gallery_ranks_by_stars_within_a_period(server, kept, now):
    day = timedelta(days=1)
    ago = [discord.utils.time_snowflake(datetime.now(UTC) - age) for age in (2 * day, 20 * day)]
    rows = [await kept(number) for number in (now, now + 1, *ago)]
    for row, members in zip(rows, (1, 3, 2, 4), strict=True):
        for member in range(members):
            await server.service.starboard.give(member + 100, row)
    message = await listed(server, "gallery")
    assert shown(message) == [f"picture {row.id}" for row in (rows[1], rows[2], rows[0])]
    assert "⭐ 3 stars" in text_of(message) and "⭐ 1 star ·" in text_of(message)
    today = (await server.alice.click(message, label="Today")).response
    assert shown(today) == [f"picture {row.id}" for row in (rows[1], rows[0])]
    everything = (await server.alice.click(today, label="All time")).response
    assert shown(everything)[0] == f"picture {rows[3].id}" and labels(everything) == ["Today", "This week", "Jam winners"]


async def test_gallery_turns_its_pages(server, kept, now):
    for number in range(PAGE_SIZE + 1):
        await server.service.starboard.give(5, await kept(now + number))
    message = await listed(server, "gallery", period="day")
    first = shown(message)
    more = (await server.alice.click(message, label="More")).response
    assert len(first) == PAGE_SIZE and shown(more) == [f"picture {now}"]
    assert shown((await server.alice.click(more, label="Back")).response) == first


async def test_starboard_shows_a_picture_once_when_it_has_enough_stars(server, kept):
    board = await board_of(server, stars=2)
    row = await kept(1)
    await star(server, server.alice, row)
    assert board.history() == []
    for member in (server.bob, add_moderator(server)):
        await star(server, member, row)
    (message,) = board.history()
    assert "⭐ 2 stars" in text_of(message) and row.short_id in text_of(message) and len(pictures_of(message)) == 1
    assert f"/{server.guild.id}/{server.channel.id}/{row.message_id}" in text_of(message)


async def test_starboard_leaves_out_channels_that_not_everyone_can_read(server, kept):
    board = await board_of(server)
    nobody = discord.PermissionOverwrite(view_channel=False)
    hidden = server.guild.create_text_channel("hidden", overwrites={server.guild.default_role: nobody})
    await star(server, server.alice, await kept(1, channel_id=hidden.id))
    assert board.history() == []


async def test_starboard_whose_permissions_are_gone_stops_nothing(server, kept):
    board = await board_of(server)
    server.env.inject_error("POST", f"/channels/{board.id}/messages", status=403, code=50013, times=1)
    assert "favourites now" in await star(server, server.alice, await kept(1))
    assert board.history() == []


async def test_message_on_the_starboard_is_deleted_with_its_picture(server):
    board = await board_of(server)
    made = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2)
    await server.until_finished(made.response)
    await server.until_idle()
    await star(server, server.bob, await server.service.creation_store.get_by_message(made.response.id))
    assert len(board.history()) == 1
    await add_moderator(server).delete(made.response)
    await server.until_idle()
    assert board.history() == []


async def test_forgetting_removes_stars_given_and_got(server, kept):
    board = await board_of(server)
    mine, theirs = await kept(1), await kept(2, owner=server.bob.id)
    for member in (server.alice, server.bob):
        await star(server, member, mine)
        await star(server, member, theirs)
    exported = [document async for document in server.service.personal_data.export(server.alice.id)]
    (favourites,) = [document.data for document in exported if document.name == "favourites.json"]
    assert favourites.count(b"creation_id") == 2
    asked = await server.alice.slash(server.channel, "privacy forget")
    await server.alice.click(asked.response, label="Forget me")
    await server.until_idle()
    assert (await server.service.stores.star_store.get(theirs.id)).stars == 1
    assert await server.service.stores.star_store.get(mine.id) is None
    assert await count(server, StarRow) == 1 and await count(server, StarredRow) == 1
    assert len(board.history()) == 1  # that of bob's picture


async def test_setup_starboard_sets_and_unsets_it(server):
    role = server.guild.create_role("managers", permissions=discord.Permissions(manage_guild=True))
    manager = server.guild.add_member(server.env.create_user("mona"), roles=[role])
    panel = private_message(await manager.slash(server.channel, "setup starboard", channel=server.channel, stars=5))
    assert f"Starboard: **<#{server.channel.id}>** (5 stars)" in text_of(panel)
    panel = private_message(await manager.slash(server.channel, "setup starboard"))
    assert "Starboard" not in text_of(panel)
    assert server.service.preference_store.get(Scope.SERVER, server.guild.id) == Preferences()
