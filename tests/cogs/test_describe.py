import pytest

import bot
from cogs.core.request.preferences import Preferences, Scope
from diffusion.errors import DarkroomError, GenerationError
from diffusion.serving.engine import Engine
from tests.support.actions import labels_of
from tests.support.databases import new_sqlite
from tests.support.foreign_metadata import FROM_A1111, with_texts
from tests.support.jobs import row_of
from tests.support.links import allow_simulated_links
from tests.support.messages import files_of, pictures_of, png, private_text, text_of
from tests.support.results import finished, made

PICTURE = ("in.png", png())


def looks(server, *prompts):
    """Let a network of the operator see ``prompts`` in each picture."""

    async def describe(image):
        assert image.mode == "RGB"
        return list(prompts)

    server.service.describe = describe


async def described(server, member=None, **options):
    result = await (member or server.alice).slash(server.channel, "describe", **options)
    (answer,) = [answer for answer in (result.response, *result.followups) if answer is not None]
    return answer


async def test_describe_shows_prompts_and_draws_them(server):
    looks(server, "a red square", "a wall, {red|blue}", "a red square", " ", "red", "paint", "a fifth")
    answer = await described(server, image=PICTURE)
    assert answer.content.count("```") == 8 and not answer.ephemeral
    assert labels_of(answer) == [["Imagine 1", "Imagine 2", "Imagine 3", "Imagine 4"]]
    await server.restart()
    result = await server.bob.click(answer, label="Imagine 2")
    message = await finished(server, result)
    assert (await row_of(server, message)).prompt == "a wall, {red|blue}"


async def test_describe_reads_the_prompt_that_a_file_carries_first(server):
    looks(server, "something else")
    message = await made(server, prompt="red apple")
    answer = await described(server, image=("mine.png", await pictures_of(message)[0].read()))
    assert "carries the prompt" in answer.content and "```\nred apple\n```" in answer.content
    assert labels_of(answer) == [["Imagine 1"]]
    foreign = await described(server, image=("a.png", with_texts(parameters=FROM_A1111)))
    assert "carries the prompt" in foreign.content


async def test_describe_says_that_no_model_looks_at_pictures(server):
    refused = await server.alice.slash(server.channel, "describe", image=PICTURE)
    assert "no model here can look at pictures" in private_text_of(refused)


def private_text_of(result):
    answers = [answer for answer in (*result.followups, result.response) if answer is not None]
    assert answers[0].ephemeral
    return answers[0].content


async def test_a_describer_needs_the_engine_in_the_same_process(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(bot, "build_engine", lambda config: Engine(tiny_model))
    url = new_sqlite(tmp_path / "darkroom.sqlite")
    config = bot.Config(describe_model="some/model", engine="http://127.0.0.1:1", database_url=url, _env_file=None)
    with pytest.raises(DarkroomError, match="Leave out DESCRIBE_MODEL or ENGINE"):
        async with bot.open_service(config, tmp_path):
            pass


async def test_describe_is_private_on_request_and_so_is_what_is_drawn(server):
    looks(server, "a red square")
    answer = await described(server, image=PICTURE, private=True)
    drawn = await server.alice.click(answer, label="Imagine 1")
    assert answer.ephemeral and (await finished(server, drawn)).ephemeral


async def test_what_is_drawn_from_a_hidden_picture_is_hidden(server):
    looks(server, "a red square")
    answer = await described(server, image=("SPOILER_in.png", PICTURE[1]))
    message = await finished(server, await server.alice.click(answer, label="Imagine 1"))
    assert pictures_of(message)[0].spoiler


async def test_describe_keeps_to_the_servers_words(server):
    looks(server, "a red square", "a bowl")
    preferences = Preferences(words=("bowl",))
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, preferences)
    answer = await described(server, image=PICTURE)
    assert "bowl" not in answer.content and labels_of(answer) == [["Imagine 1"]]
    looks(server, "a bowl")
    refused = await server.alice.slash(server.channel, "describe", image=PICTURE)
    assert "may not be said here" in private_text_of(refused)


async def test_describe_keeps_to_the_authors_wish_and_the_allowance(server):
    looks(server, "a red square")
    message = await made(server)
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(remix=False))
    mine = ("mine.png", await pictures_of(message)[0].read())
    refused = await server.bob.slash(server.channel, "describe", image=mine)
    assert "does not allow" in private_text_of(refused)
    menu = await server.bob.context_menu(server.channel, "Describe", message)
    assert "does not allow" in private_text_of(menu)
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, Preferences(allowance=0))
    refused = await server.bob.slash(server.channel, "describe", image=PICTURE)
    assert "limit of 0 pictures a day" in private_text_of(refused)


async def test_menu_describes_a_picture_of_a_message_to_the_member_alone(server, monkeypatch):
    allow_simulated_links(monkeypatch)
    looks(server, "a red square")
    posted = await server.alice.send(server.channel, "look", attachments=[PICTURE])
    result = await server.bob.context_menu(server.channel, "Describe", posted)
    (answer,) = [answer for answer in (result.response, *result.followups) if answer is not None]
    assert answer.ephemeral and "a red square" in answer.content
    (file,) = files_of(posted)
    assert "a red square" in (await described(server, link=file.address)).content


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "no picture"),
        ({"image": PICTURE, "link": "https://cdn.discordapp.com/a.png"}, "a picture or give a link, not both"),
        ({"link": "https://evil.example/in.png"}, "only links to pictures and messages on Discord"),
        ({"image": ("in.png", b"junk")}, "as a picture"),
    ],
)
async def test_bad_input_is_refused_privately(server, options, words):
    looks(server, "a red square")
    assert words in private_text_of(await server.alice.slash(server.channel, "describe", **options))


async def test_a_picture_in_which_nothing_is_seen_is_refused(server):
    looks(server)
    assert "recognise nothing" in private_text_of(await server.alice.slash(server.channel, "describe", image=PICTURE))

    async def fail(image):
        raise GenerationError("I could not describe this picture. Please try another one.")

    server.service.describe = fail
    assert "could not describe" in private_text_of(await server.alice.slash(server.channel, "describe", image=PICTURE))


async def test_a_prompt_that_is_gone_is_refused(server):
    looks(server, "a red square")
    answer = await described(server, image=PICTURE)
    stored = server.env.backend.get_message(server.channel.id, answer.id)
    stored.content = ""
    assert "prompt is gone" in private_text(await server.alice.click(answer, label="Imagine 1"))
    assert text_of(answer) is not None
