import asyncio
from types import SimpleNamespace

import discord
import pytest

from cogs.core.messages.greeting import EMBEDDED_NAME, EXAMPLES_FILE, STYLES_FILE, greeting, picture_of
from diffusion.families.defaults import Defaults
from tests.support.actions import labels_of
from tests.support.messages import text_of
from tests.support.models import model_of
from tests.support.server import open_server


@pytest.fixture
def administrator(server):
    role = server.guild.create_role("administrators", permissions=discord.Permissions(administrator=True))
    return server.guild.add_member(server.env.create_user("olga"), roles=[role])


def commands(server):
    return server.env.bot.tree.get_commands(type=discord.AppCommandType.chat_input)


async def test_about_fits_in_ten_lines_and_lists_every_command(server, administrator):
    shown = (await administrator.slash(server.channel, "about")).response
    text = text_of(shown)
    assert shown.ephemeral and "Type `/imagine` and say what you want to see" in text and len(text.strip().splitlines()) <= 10
    for command in commands(server):
        assert f"`/{command.name}`" in text


async def test_about_hides_administrators_commands_from_members(server):
    text = text_of((await server.alice.slash(server.channel, "about")).response)
    for command in commands(server):
        assert (f"`/{command.name}`" in text) == (command.default_permissions is None)


async def test_about_hides_the_machine_from_members_and_shows_it_to_the_operator(tiny_components, monkeypatch):
    about = "This is a small model for icons."
    async with open_server(model_of(tiny_components, Defaults(about=about, examples=("red apple",)))) as server:
        text = text_of((await server.alice.slash(server.channel, "about")).response)
        assert about in text and not any(word in text for word in ("MODEL_ID", "float32", "cpu", "tiny", "work each"))
        bot = server.env.bot
        monkeypatch.setattr(bot, "is_owner", lambda user: asyncio.sleep(0, user.id == server.alice.id))
        text = text_of((await server.alice.slash(server.channel, "about")).response)
        assert "`tiny`, On cpu in float32" in text


async def test_example_buttons_draw_for_everyone_to_see(server):
    shown = (await server.alice.slash(server.channel, "about")).response
    assert labels_of(shown) == [["a red fox in the snow", "a lighthouse at dusk", "a bowl of ramen", "Styles"]]
    result = await server.alice.click(shown, label="a bowl of ramen")
    assert not result.response.ephemeral
    await server.until_finished(result.response)
    assert "**a bowl of ramen**" in text_of(result.response)


async def test_styles_button_names_every_style(server):
    shown = (await server.alice.slash(server.channel, "about")).response
    listed = (await server.alice.click(shown, label="Styles")).response
    assert listed.ephemeral and all(f"`{style}`" in text_of(listed) for style in server.service.builder.styles)


def test_pictures_of_the_embedded_model_are_small_and_for_it_only():
    embedded, other = (SimpleNamespace(name=name) for name in (EMBEDDED_NAME, "other"))
    pictures = [picture_of(embedded, name) for name in (EXAMPLES_FILE, STYLES_FILE)]
    assert 0 < sum(map(len, pictures)) <= 150_000
    assert picture_of(other, EXAMPLES_FILE) is None
    message = greeting("Hello", SimpleNamespace(name=EMBEDDED_NAME, defaults=Defaults(examples=("red apple",))))
    assert message["files"][0].filename == EXAMPLES_FILE


async def test_about_works_in_a_direct_message(server):
    text = text_of((await server.env.create_user("carol").slash("about")).response)
    assert "`/imagine`" in text


async def test_mention_gets_an_answer_that_names_the_command(server, caplog):
    mention = server.env.bot.user.mention
    await server.alice.send(server.channel, f"{mention} draw me a secret fox")
    answer = server.channel.history()[-1]
    assert "`/imagine`" in text_of(answer) and "secret" not in text_of(answer)
    assert "secret" not in caplog.text and "Traceback" not in caplog.text


async def test_members_who_only_talk_get_no_answer(server):
    await server.alice.send(server.channel, "draw me a fox")
    await server.alice.send(server.channel, "@everyone draw me a fox")
    assert len(server.channel.history()) == 2


async def test_mention_is_answered_twice_a_minute_at_most(server):
    mention = server.env.bot.user.mention
    for _ in range(4):
        await server.alice.send(server.channel, f"{mention} hello")
    assert len(server.channel.history()) == 4 + 2


async def test_direct_message_is_answered(server):
    carol = server.env.create_user("carol")
    await carol.send_dm("draw me a fox")
    assert "`/imagine`" in text_of(carol.dm_channel.history()[-1])
