import discord

from diffusion.defaults import Defaults
from tests.conftest import model_of
from tests.discord.conftest import opened, sentence


async def test_it_tells_the_model_what_to_try_and_every_command(server):
    text = sentence(await server.alice.slash(server.channel, "about"))
    assert "`tiny`" in text and "/imagine prompt: a red fox in the snow" in text
    for command in server.env.bot.tree.get_commands(type=discord.AppCommandType.chat_input):
        assert f"`/{command.name}`: {command.description}" in text


async def test_a_small_model_says_what_it_is_for_and_how_to_get_another(tiny_components):
    about = "This is a small model for icons."
    async with opened(model_of(tiny_components, Defaults(about=about, examples=("red apple",)))) as server:
        text = sentence(await server.alice.slash(server.channel, "about"))
    assert about in text and "`MODEL_ID`" in text and "/imagine prompt: red apple" in text


async def test_a_model_for_everything_mentions_no_setting(server):
    assert "MODEL_ID" not in sentence(await server.alice.slash(server.channel, "about"))


async def test_it_works_in_a_direct_message(server):
    text = sentence(await server.env.create_user("carol").slash("about"))
    assert "`/imagine`" in text
