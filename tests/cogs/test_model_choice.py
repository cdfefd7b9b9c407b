"""Members choose the model of a request, or their own default."""

import pytest

from cogs.core.request.flags import parse_flags
from diffusion.images.parameters import read_parameters
from tests.support.jobs import ask, row_of, settings_of_row, slow_down, until_running
from tests.support.messages import pictures_of, private_text, text_of
from tests.support.settings_panel import submit_page


@pytest.fixture
def server(server_of_two_models):
    return server_of_two_models


async def drawn(server, message):
    """Wait for a picture; return the model that drew it and the one that was asked for."""
    await server.until_finished(message)
    await server.until_idle()
    row = await row_of(server, message)
    return row.model, row.request["model"]


async def test_a_member_chooses_a_model_for_a_picture(server):
    message = await ask(server, steps=2, model="OTHER")
    assert await drawn(server, message) == ("other", "other")
    assert read_parameters(await pictures_of(message)[0].read())["seed"] == 5
    assert "model other" in await settings_of_row(server, message)
    plain = await ask(server, steps=2)
    assert await drawn(server, plain) == ("first", "")
    assert "model" not in text_of(plain)


async def test_autocomplete_offers_models_and_what_suits_them(server):
    async def offered(option, **chosen):
        choices = await server.alice.autocomplete(server.channel, "imagine", option, "", **chosen)
        return {choice["value"] for choice in choices}

    assert await offered("model") == {"first", "other"}
    assert await offered("sampler", model="other") == {"dpm++", "euler", "ddim"}
    assert len(await offered("sampler", model="nothing")) > 3


@pytest.mark.parametrize("command", ["imagine", "morph"])
async def test_an_unknown_model_is_refused_by_name(server, command):
    options = {"prompt": "red apple"} if command == "imagine" else {"from": "red apple", "to": "pear"}
    told = await server.alice.slash(server.channel, command, model="third", **options)
    assert private_text(told) == "There is no model `third` here. Choose one of `first`, `other`."


async def test_a_model_without_a_visible_name_is_refused(server):
    told = await server.alice.slash(server.channel, "imagine", prompt="red apple", model="\x00")
    assert private_text(told) == "There is no model of such a name. Choose one from the list."


async def test_validation_is_that_of_the_model(server):
    told = await server.alice.slash(server.channel, "imagine", prompt="red apple", model="other", sampler="lms")
    assert private_text(told) == "There is no sampler LMS. Choose one of DPM++ 2M Karras, Euler, DDIM."


async def test_a_flag_chooses_the_model(server):
    message = await ask(server, prompt="red apple --model other", steps=2)
    assert await drawn(server, message) == ("other", "other")


def test_the_flag_takes_one_word_or_quotes():
    assert parse_flags("a --model finer fox").text == "a fox"
    assert parse_flags('a --model "dream shaper" fox').settings == {"model": "dream shaper"}
    assert "needs the name of a model" in str(parse_flags("a fox --model").errors[0])


async def test_a_member_prefers_a_model(server):
    _, changed = await submit_page(server.alice, server.channel, "mine", "Quality", model=["other"])
    assert "Model: **other**" in text_of(changed.response)
    assert await drawn(server, await ask(server, steps=2)) == ("other", "other")
    await server.engine.offer({"first": server.shelf.offers()["first"]})
    assert await drawn(server, await ask(server, steps=2)) == ("first", "")


async def test_reroll_keeps_the_model(server):
    message = await ask(server, steps=2, model="other")
    await drawn(server, message)
    again = await server.alice.click(message, label="Reroll")
    assert await drawn(server, again.response) == ("other", "other")


async def test_a_job_keeps_its_model_after_a_restart(server, monkeypatch):
    slow_down(server, monkeypatch)
    running = await ask(server, steps=20)
    waiting = await ask(server, steps=2, model="other")
    await until_running(server, running)
    await server.restart()
    assert await drawn(server, waiting) == ("other", "other")
    assert await drawn(server, running) == ("first", "")


async def test_another_picture_like_one_is_drawn_by_its_model(server):
    message = await ask(server, steps=2, model="other")
    await drawn(server, message)
    shown = await server.alice.context_menu(server.channel, "Image info", message)
    again = await server.alice.click(shown.response, label="Make another like it")
    assert await drawn(server, again.response) == ("other", "other")
