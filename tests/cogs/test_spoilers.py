"""What a member hid stays hidden: the source and the result of a hidden attachment, in every command and menu."""

import discord
import pytest
from simcord.results import to_discord_message

from tests.support.foreign_metadata import FROM_A1111, with_texts
from tests.support.messages import files_of, pictures_of, png, private_text, source_of

HIDDEN = ("SPOILER_in.png", png((40, 40)))
WORDED = {"prompt": "red apple", "steps": 2}


async def finished(server, result):
    await server.until_finished(result.response)
    await server.until_idle()
    return result.response


def all_hidden(message):
    return [file.spoiler for file in files_of(message)]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("similar", {"image": HIDDEN}),
        ("similar", {"image": HIDDEN, "spoiler": False}),
        ("inpaint", {"image": HIDDEN, "region": "left"}),
        ("inpaint", {"image": ("in.png", png()), "mask": ("SPOILER_mask.png", png(colour="white"))}),
        ("outpaint", {"image": HIDDEN, "direction": "right"}),
    ],
    ids=["similar", "similar not hidden by option", "inpaint", "mask", "outpaint"],
)
async def test_commands_hide_source_and_result_of_a_hidden_attachment(server, command, options):
    message = await finished(server, await server.alice.slash(server.channel, command, **WORDED | options))
    assert pictures_of(message) and source_of(message)
    assert all_hidden(message) == [True, True]


async def test_menu_and_buttons_hide_what_comes_of_a_hidden_picture(server):
    posted = await server.bob.send(server.channel, "look", attachments=[HIDDEN])
    message = await finished(server, await server.alice.context_menu(server.channel, "More like this", posted))
    again = await finished(server, await server.bob.click(message, label="Reroll"))
    assert all_hidden(message) == all_hidden(again) == [True, True]


async def test_more_like_this_hides_what_comes_of_a_hidden_result(server):
    made = await finished(server, await server.alice.slash(server.channel, "imagine", spoiler=True, **WORDED))
    assert all_hidden(made) == [True]
    message = await finished(server, await server.bob.context_menu(server.channel, "More like this", made))
    assert all_hidden(message) == [True, True]


async def test_make_another_like_it_hides_what_comes_of_a_hidden_picture(server):
    data = with_texts(parameters=FROM_A1111)
    posted = await server.bob.send(server.channel, "look", attachments=[("SPOILER_in.png", data)])
    shown = await server.alice.context_menu(server.channel, "Image info", posted)
    answer = shown.response or shown.followups[0]
    message = await finished(server, await server.alice.click(answer, label="Make another like it"))
    assert all_hidden(message) == [True]


async def test_emoji_command_hides_its_preview_of_a_hidden_picture(server):
    permissions = discord.Permissions(create_expressions=True)
    artist = server.guild.add_member(
        server.env.create_user("artist"), roles=[server.guild.create_role("artists", permissions=permissions)]
    )
    result = await artist.slash(server.channel, "emoji", image=HIDDEN, name="cat")
    assert "is an emoji" in private_text(result)
    assert all_hidden(result.response or result.followups[0]) == [True, True]


@pytest.mark.parametrize(("content", "hidden"), [("look: || {link} ||", True), ("||no|| {link} ||no||", False)])
async def test_menu_hides_what_comes_of_an_embedded_link_between_spoiler_marks(server, content, hidden):
    link, proxy = "https://example.com/in.png", "https://cdn.discordapp.com/external/in.png"
    server.env.backend.cdn._blobs[proxy] = png((40, 40))
    embed = {"type": "image", "url": link, "thumbnail": {"url": link, "proxy_url": proxy, "width": 40, "height": 40}}
    stored = server.env.backend.create_message(server.channel.id, server.bob.id, content.format(link=link), embeds=[embed])
    posted = to_discord_message(server.env, stored)
    message = await finished(server, await server.alice.context_menu(server.channel, "More like this", posted))
    assert all_hidden(message) == [hidden] * 2
