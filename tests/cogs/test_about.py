import discord
import pytest

from cogs.core.help_text import MESSAGE_LIMIT, RunSummary, about_text, running_text
from diffusion.families.defaults import Defaults
from tests.support.messages import private_text
from tests.support.models import model_of
from tests.support.server import open_server


@pytest.fixture
def administrator(server):
    role = server.guild.create_role("administrators", permissions=discord.Permissions(administrator=True))
    return server.guild.add_member(server.env.create_user("olga"), roles=[role])


def commands(server):
    return server.env.bot.tree.get_commands(type=discord.AppCommandType.chat_input)


async def test_about_shows_model_example_and_every_command(server, administrator):
    text = private_text(await administrator.slash(server.channel, "about"))
    assert "`tiny`" in text and "/imagine prompt: a red fox in the snow" in text
    for command in commands(server):
        assert f"`/{command.name}`: {command.description.removesuffix('.')}\n" in text


async def test_about_hides_administrators_commands_from_members(server):
    text = private_text(await server.alice.slash(server.channel, "about"))
    for command in commands(server):
        assert (f"`/{command.name}`" in text) == (command.default_permissions is None)


async def test_about_text_fits_one_message(server):
    defaults = Defaults(about="a" * 300, examples=("e" * 100,) * 5)
    listed = {f"/{command.name}": command.description for command in commands(server)}
    running = running_text(RunSummary("cuda:0", "torch.bfloat16", 4e9, 10**9, 1234.5))
    text = about_text("/models/" + "deep/" * 100 + "model", defaults, listed, running)
    assert len(text) <= MESSAGE_LIMIT
    assert defaults.about in text and running in text and all(f"`{name}`" in text for name in listed)


async def test_about_of_a_small_model_names_its_purpose_and_model_id(tiny_components):
    about = "This is a small model for icons."
    async with open_server(model_of(tiny_components, Defaults(about=about, examples=("red apple",)))) as server:
        text = private_text(await server.alice.slash(server.channel, "about"))
    assert about in text and "`MODEL_ID`" in text and "/imagine prompt: red apple" in text


async def test_about_of_a_general_model_does_not_name_model_id(server):
    assert "MODEL_ID" not in private_text(await server.alice.slash(server.channel, "about"))


async def test_about_works_in_a_direct_message(server):
    text = private_text(await server.env.create_user("carol").slash("about"))
    assert "`/imagine`" in text


async def test_mention_gets_an_answer_that_names_the_command(server, caplog):
    mention = server.env.bot.user.mention
    await server.alice.send(server.channel, f"{mention} draw me a secret fox")
    answer = server.channel.history()[-1]
    assert "`/imagine`" in answer.content and "`/about`" in answer.content and "secret" not in answer.content
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
    assert "`/imagine`" in carol.dm_channel.history()[-1].content
