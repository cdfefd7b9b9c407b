"""Pictures that members name by a link, or by a reply to a message with one."""

import discord
import pytest

from cogs.core.generation.source import UNKNOWN_ID
from cogs.core.messages.shown_pictures import shown_pictures
from cogs.core.request.links import MessageLink, find_links, is_picture_link, parse_message_link, take_links
from cogs.core.request.preferences import Preferences, Scope
from tests.support.jobs import row_of
from tests.support.links import allow_simulated_links
from tests.support.messages import files_of, pictures_of, png, private_text, source_of, text_of
from tests.support.results import finished, made

CDN = "https://cdn.discordapp.com/attachments/1/2/in.png?ex=6a&is=6b&hm=ff"


@pytest.mark.parametrize(
    "link",
    [
        "http://cdn.discordapp.com/attachments/1/2/in.png",
        "https://cdn.discordapp.com.evil.example/in.png",
        "https://cdn.discordapp.com@evil.example/in.png",
        "https://cdn.discordapp.com\\@evil.example/in.png",
        "https://cdn.discordapp.com:8080/in.png",
        "https://images-ext-1.discordapp.net/external/x/https/evil.example/in.png",
        "https://evil.example/https://cdn.discordapp.com/in.png",
        "https://cdn.discordapp.com",
        "https://127.0.0.1/in.png",
    ],
)
def test_only_files_on_discords_hosts_are_pictures(link):
    assert not is_picture_link(link)
    assert take_links(f"a fox {link}") == (f"a fox {link}", [])


@pytest.mark.parametrize(
    ("text", "kept", "links"),
    [
        (f"{CDN} a red  fox", "a red fox", [CDN]),
        (f"a fox <{CDN}>, red", "a fox , red", [CDN]),
        (f"||{CDN}|| fox", "|| || fox", [CDN]),
        ("like https://discord.com/channels/1/2/3.", "like", ["https://discord.com/channels/1/2/3"]),
        ("a red  fox", "a red  fox", []),
    ],
)
def test_take_links_takes_what_discord_keeps(text, kept, links):
    assert take_links(text) == (kept, links)


def test_parse_message_link_reads_a_place():
    assert parse_message_link("https://ptb.discord.com/channels/@me/2/3") == MessageLink(None, 2, 3)
    assert parse_message_link("https://discord.com/channels/1/2") is None
    assert find_links("http://a.b c https://d.e>") == ["http://a.b", "https://d.e"]


@pytest.fixture(autouse=True)
def simulated_links(monkeypatch):
    allow_simulated_links(monkeypatch)


async def sent(server, member=None, channel=None, **options):
    attachments = [("in.png", png())]
    return await (member or server.alice).send(channel or server.channel, "look", attachments=attachments, **options)


def link_to(server, message):
    return f"https://discord.com/channels/{server.guild.id}/{message.channel.id}/{message.id}"


async def source_size(server, result):
    request = await server.service.runner.request_of(await row_of(server, await finished(server, result)))
    return request.image.size, request.prompt


async def test_similar_starts_from_a_linked_picture(server):
    (file,) = files_of(await sent(server))
    result = await server.bob.slash(server.channel, "similar", link=file.address, prompt="a pear", steps=3)
    assert await source_size(server, result) == ((40, 24), "a pear")


async def test_imagine_starts_from_a_link_in_its_prompt(server):
    (file,) = files_of(await sent(server))
    result = await server.bob.slash(server.channel, "imagine", prompt=f"{file.address} a pear", steps=3)
    assert await source_size(server, result) == ((40, 24), "a pear")


async def test_a_link_to_a_message_starts_from_its_picture(server):
    other = server.guild.create_text_channel("other")
    message = await sent(server, channel=other)
    result = await server.bob.slash(server.channel, "imagine", prompt=f"a pear like {link_to(server, message)}", steps=3)
    assert await source_size(server, result) == ((40, 24), "a pear like")


async def test_a_link_to_a_message_keeps_to_its_authors_wish(server):
    mine, made_by_bot = await sent(server), await made(server)
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(remix=False))
    (picture,) = shown_pictures(made_by_bot.message)
    for link in (link_to(server, mine), link_to(server, made_by_bot.message), picture.address):
        result = await server.bob.slash(server.channel, "similar", link=link, steps=3)
        answers = [answer for answer in (*result.followups, result.response) if answer is not None]
        assert answers[0].ephemeral and "does not allow" in answers[0].content


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "no picture to start from"),
        ({"image": ("in.png", png()), "link": CDN}, "not both"),
        ({"prompt": f"{CDN} {CDN}"}, "start from one picture"),
        ({"link": "https://evil.example/in.png"}, "only links to pictures and messages on Discord"),
        ({"link": CDN}, "could not download the picture"),
        ({"link": "https://discord.com/channels/9/8/7"}, "you cannot see it"),
    ],
)
async def test_other_links_are_refused_privately(server, options, words):
    assert words in private_text(await server.alice.slash(server.channel, "similar", **options))


async def test_members_link_only_to_messages_that_they_see(server):
    hidden = server.guild.create_text_channel(
        "hidden", overwrites={server.bob: discord.PermissionOverwrite(view_channel=False)}
    )
    message = await server.env.bot.get_channel(hidden.id).send("x")
    refused = await server.bob.slash(server.channel, "similar", link=link_to(server, message))
    assert "you cannot see it" in private_text(refused)


async def test_the_menu_of_a_reply_takes_the_picture_it_replies_to(server):
    reply = await server.bob.send(server.channel, "nice", reply_to=await sent(server))
    result = await server.bob.context_menu(server.channel, "More like this", reply)
    await finished(server, result)
    assert source_of(result.response)


async def test_the_menu_of_a_message_takes_a_link_in_it(server):
    (file,) = files_of(await sent(server))
    message = await server.bob.send(server.channel, f"like ||{file.address}||")
    result = await server.bob.context_menu(server.channel, "More like this", message)
    await finished(server, result)
    assert pictures_of(result.response)[0].spoiler


async def test_short_id_stands_for_a_picture(server):
    message = await made(server)
    row = await row_of(server, message)
    result = await server.bob.slash(server.channel, "similar", link=f"#{row.short_id}", prompt="a pear", steps=3)
    await server.until_finished(result.response)
    await server.until_idle()
    child = await row_of(server, result.response)
    assert (child.parent_id, child.source is not None) == (row.id, True)
    (offered,) = await server.alice.autocomplete(server.channel, "similar", "link", row.short_id)
    assert offered["value"] == row.short_id


async def test_short_ids_stand_for_pictures_in_every_command(server):
    red, blue = await row_of(server, await made(server)), await row_of(server, await made(server, prompt="blue fox"))
    asked = {
        "inpaint": {"link": red.short_id, "region": "left", "prompt": "a pear"},
        "outpaint": {"link": red.short_id, "direction": "left", "prompt": "a pear"},
        "blend": {"links": f"{red.short_id}, #{blue.short_id.upper()}", "weights": "2,1"},
        "morph": {"from_link": red.short_id, "to_picture": ("in.png", png()), "frames": 2},
    }
    for command, options in asked.items():
        result = await server.alice.slash(server.channel, command, steps=3, **options)
        child = await row_of(server, await finished(server, result))
        assert (child.parent_id, child.source is not None) == (red.id, True), command
    offered = await server.alice.autocomplete(server.channel, "blend", "links", f"{red.short_id} blue")
    assert [choice["value"] for choice in offered] == [f"{red.short_id} {blue.short_id}"]


async def test_pictures_of_members_who_forbid_it_are_not_blended(server):
    rows = [await row_of(server, await made(server)) for _ in range(2)]
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(remix=False))
    avatar = f"https://cdn.simcord.invalid/avatars/{server.alice.id}/a.png"
    for links in (" ".join(row.short_id for row in rows), f"{CDN} {rows[0].short_id}", f"{CDN} {avatar}"):
        assert "does not allow" in private_text(await server.bob.slash(server.channel, "blend", links=links))


async def test_short_id_of_a_private_picture_is_unknown_to_others(server):
    row = await row_of(server, await made(server, private=True))
    assert private_text(await server.bob.slash(server.channel, "similar", link=row.short_id)) == UNKNOWN_ID


async def test_short_id_of_pruned_pictures_says_that_they_are_gone(server):
    row = await row_of(server, await made(server))
    for file in server.service.image_store.folder.rglob("*.png"):
        file.unlink()
    result = await server.alice.slash(server.channel, "similar", link=row.short_id)
    await server.until_idle()
    answers = [text_of(answer) for answer in (result.response, *result.followups) if answer]
    assert any("have been deleted" in answer for answer in answers)


async def test_short_id_respects_the_remix_setting(server):
    row = await row_of(server, await made(server))
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(remix=False))
    assert "does not allow" in private_text(await server.bob.slash(server.channel, "similar", link=row.short_id))
