import asyncio

import pytest

from cogs.core.generation import runner
from diffusion.families.defaults import DEFAULT_STYLES, Defaults
from diffusion.images.io import read_image
from diffusion.images.parameters import read_parameters
from tests.support.jobs import settings_of_row, slow_down
from tests.support.messages import files_of, pictures_of, private_text, text_of
from tests.support.models import model_of
from tests.support.server import open_server
from tests.support.waiting import WAIT_SECONDS


async def test_imagine_posts_a_picture_with_alt_text_and_settings(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", seed=42, steps=3)
    message = result.response
    await server.until_finished(message)

    (picture,) = pictures_of(message)
    assert picture.description == "red apple"
    assert picture.name == "darkroom-42.png"
    assert "**red apple**" in text_of(message)
    settings = await settings_of_row(server, message)
    assert "seed 42" in settings and "3 steps" in settings
    settings = read_parameters(await picture.read())
    assert (settings["prompt"], settings["seed"], settings["steps"]) == ("red apple", 42, 3)


async def test_imagine_applies_every_option(server):
    result = await server.alice.slash(
        server.channel,
        "imagine",
        prompt="red apple",
        negative="blurry",
        size="64x32",
        steps=4,
        guidance=2.5,
        sampler="euler_a",
        seed=7,
        count=2,
    )
    await server.until_finished(result.response, 2)
    settings = read_parameters(await pictures_of(result.response)[1].read())
    assert settings == {
        "prompt": "red apple",
        "negative_prompt": "blurry",
        "width": 64,
        "height": 32,
        "steps": 4,
        "guidance_scale": 2.5,
        "sampler": "euler_a",
        "seed": 8,
    }


async def test_imagine_replies_at_once_and_shows_progress(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=150)
    message = result.response
    assert "step" in text_of(message) or "Next in line" in text_of(message)
    await server.until(lambda: [file.name for file in files_of(message)] == ["preview.webp"])
    assert "step" in text_of(message) and "of 150" in text_of(message)
    await server.until_finished(message)


async def test_progress_edits_are_limited(server, monkeypatch):
    monkeypatch.setattr(runner, "EDIT_SECONDS", WAIT_SECONDS)  # so that the next edit after the first is due at the end
    slow_down(server, monkeypatch)
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=100)
    await server.until_finished(result.response)
    edits = [request for request in server.env.http_requests if request.method == "PATCH"]
    assert 2 <= len(edits) <= 3


async def test_private_picture_is_posted_privately(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2, private=True)
    assert result.response.ephemeral
    await server.until_finished(result.response)


async def test_mentions_in_a_prompt_do_not_ping(server):
    result = await server.alice.slash(server.channel, "imagine", prompt=f"@everyone @here <@{server.bob.id}> **x**", steps=2)
    await server.until_finished(result.response)
    message = result.response.message
    assert not message.mentions and not message.mention_everyone
    assert "@everyone" not in text_of(result.response)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt": "語" * 120}, "would be ignored"),
        ({"prompt": "  "}, "empty"),
        ({"prompt": "語" * 100, "style": "oil painting"}, "would be ignored"),
        ({"prompt": "f" * 980, "style": "oil painting on old canvas"}, "shorten"),
        ({"prompt": "fox", "size": "big"}, "width x height"),
        ({"prompt": "fox", "size": "33x32"}, "multiple of 8"),
        ({"prompt": "fox", "size": "512"}, "as many pixels as 256x256"),
    ],
)
async def test_imagine_rejects_invalid_options_privately(server, options, words):
    result = await server.alice.slash(server.channel, "imagine", **options)
    assert words in private_text(result)


async def test_full_queue_asks_to_try_again(tiny_model):
    async with open_server(tiny_model, max_waiting=1, max_rows=2) as server:
        first = await server.alice.slash(server.channel, "imagine", prompt="one", steps=150)
        second = await server.bob.slash(server.channel, "imagine", prompt="two", steps=2)
        assert "try again" in private_text(second)
        await server.until_finished(first.response)


async def test_size_choices_suit_the_model(server):
    offered = await server.alice.autocomplete(server.channel, "imagine", "size", "")
    assert [choice["value"] for choice in offered][:2] == ["32x32", "32x48"]


async def test_style_becomes_part_of_the_prompt(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="red fox ", style="oil painting", steps=2)
    await server.until_finished(result.response)
    (picture,) = pictures_of(result.response)
    assert "**red fox, oil painting**" in text_of(result.response)
    assert picture.description == read_parameters(await picture.read())["prompt"] == "red fox, oil painting"


@pytest.mark.parametrize(("typed", "offered"), [("PIX", ["pixel art"]), ("no such", []), ("", list(DEFAULT_STYLES))])
async def test_style_choices_are_those_of_the_model(server, typed, offered):
    for command in ("imagine", "similar"):
        choices = await server.alice.autocomplete(server.channel, command, "style", typed)
        assert [choice["value"] for choice in choices] == offered


async def test_upscale_enlarges_the_posted_picture(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2, upscale=4)
    await server.until_finished(result.response)
    data = await pictures_of(result.response)[0].read()
    assert read_image(data).size == (128, 128)
    assert "32x32 ×4" in await settings_of_row(server, result.response)
    settings = read_parameters(data)
    assert (settings["width"], settings["height"], settings["upscale"]) == (32, 32, 4)


async def test_model_default_upscale_applies(tiny_components):
    model = model_of(tiny_components, Defaults(steps=2, upscale=2))
    async with open_server(model) as server:
        for options, side in (({}, 64), ({"upscale": 1}, 32)):
            result = await server.alice.slash(server.channel, "imagine", prompt="red apple", **options)
            await server.until_finished(result.response)
            assert read_image(await pictures_of(result.response)[0].read()).size == (side, side)


async def test_steering_is_shown_and_kept_by_reroll(steerable_server):
    server = steerable_server
    options = {"prompt": "apple", "steps": 3, "steer": " Red ", "steer_strength": 1.5}
    result = await server.alice.slash(server.channel, "imagine", **options)
    await server.until_finished(result.response)
    assert "steered to red by 1.5" in await settings_of_row(server, result.response)
    again = await server.bob.click(result.response, label="Reroll")
    await server.until_finished(again.response)
    settings = read_parameters(await pictures_of(again.response)[0].read())
    assert (settings["guide_label"], settings["label_scale"]) == ("red", 1.5)


async def offered(server, typed):
    return [choice["name"] for choice in await server.alice.autocomplete(server.channel, "imagine", "steer", typed)]


async def test_steer_choices_are_kinds_and_then_colours(steerable_server):
    assert await offered(steerable_server, "") == [
        *("animal (kind)", "food (kind)"),
        *("red (colour)", "green (colour)", "blue (colour)"),
    ]
    assert await offered(steerable_server, "RE") == ["red (colour)", "green (colour)"]


async def test_steer_rejects_an_unknown_label_privately(steerable_server):
    result = await steerable_server.alice.slash(steerable_server.channel, "imagine", prompt="apple", steer="mauve")
    assert "only to animal, food, red" in private_text(result)


async def test_steer_needs_a_classifier(server):
    assert await offered(server, "") == []
    result = await server.alice.slash(server.channel, "imagine", prompt="apple", steer="red")
    assert "no classifier" in private_text(result)


async def test_imagine_works_in_a_direct_message(server):
    result = await server.env.create_user("carol").slash("imagine", prompt="red apple", steps=2)
    await server.until_finished(result.response)


async def test_engine_failure_is_reported(server, monkeypatch, caplog):
    monkeypatch.setattr(server.engine.model, "predict_noise", lambda *rows: 1 / 0)
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2)
    await server.until(lambda: "try again" in text_of(result.response))
    assert not result.response.components


async def test_failed_progress_edit_does_not_stop_the_picture(server):
    server.env.inject_error("PATCH", "/webhooks/*/messages/*", status=500, code=0, times=1)
    result = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=30)
    await server.until_finished(result.response)


async def test_engine_serves_many_members(server):
    members = [server.guild.add_member(server.env.create_user(f"member{index}")) for index in range(6)]
    results = [await member.slash(server.channel, "imagine", prompt="fox", steps=20) for member in members]
    await asyncio.gather(*(server.until_finished(result.response) for result in results))


async def test_sampler_is_suggested_from_those_of_the_model_and_taken_by_any_name(server):
    offered = await server.alice.autocomplete(server.channel, "imagine", "sampler", "")
    assert {choice["value"] for choice in offered} == set(server.service.engine.model.samplers) and len(offered) <= 25
    narrowed = await server.alice.autocomplete(server.channel, "imagine", "sampler", " karras")
    assert [choice["value"] for choice in narrowed] == ["dpm++", "dpm++_2m_sde_karras", "dpm++_sde_karras"]
    for typed in ("DPM++ SDE Karras", "dpmpp_sde karras"):
        result = await server.alice.slash(server.channel, "imagine", prompt="fox", sampler=typed, steps=2)
        await server.until_finished(result.response)
        assert "DPM++ SDE Karras" in await settings_of_row(server, result.response)


@pytest.mark.parametrize(("prompt", "options"), [("fox", {"sampler": "best"}), ("fox --sampler best", {})])
async def test_sampler_that_the_model_does_not_have_is_refused_with_those_it_has(server, prompt, options):
    result = await server.alice.slash(server.channel, "imagine", prompt=prompt, **options)
    said = private_text(result)
    assert "There is no sampler 'best'. Choose one of LMS, DDIM, Euler" in said and "Flow" not in said
