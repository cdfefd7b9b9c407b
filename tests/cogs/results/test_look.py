import pytest

from diffusion.families.defaults import QUALITIES
from tests.support.actions import labels_of, use
from tests.support.jobs import row_of
from tests.support.messages import private_message, private_text
from tests.support.results import finished, made


@pytest.fixture
def server(server_of_two_models):
    return server_of_two_models


def controls_of(shown):
    return {label["component"]["custom_id"]: label["component"] for label in shown.modal["components"]}


async def edited(server, message, **values):
    """Fill in the second form of Edit; return what the member is shown."""
    shown = await use(server.alice, message, "look")
    filled = {
        name: [option["value"] for option in control["options"] if option.get("default")]
        for name, control in controls_of(shown).items()
        if "options" in control
    }
    filled["size"] = controls_of(shown)["size"]["value"]
    return await server.alice.submit_modal(shown, filled | values)


async def request_of(server, message):
    return await server.service.runner.request_of(await row_of(server, message))


async def test_the_form_offers_what_the_model_can_do(server):
    shown = await use(server.alice, await made(server, model="other", sampler="euler"), "look")
    controls = controls_of(shown)
    assert [option["value"] for option in controls["model"]["options"] if option.get("default")] == ["other"]
    ways = [option["value"] for option in controls["way"]["options"]]
    qualities = [f"quality:{name}" for name in QUALITIES]
    samplers = [f"sampler:{name}" for name in server.engine.models["other"].samplers]
    assert ways == ["keep", *qualities, *samplers][:25]
    assert controls["size"]["value"] == "32x32"


async def test_changes_are_shown_before_they_are_drawn(server):
    message = await made(server, prompt="red apple", seed=4)
    told = private_message(await edited(server, message, size="48x32", way=["sampler:euler"]))
    assert "width 32 → 48" in told.content and "Euler" in told.content
    assert labels_of(told) == [["Draw", "Words and numbers"]]
    request = await request_of(server, await finished(server, await server.alice.click(told, label="Draw")))
    assert (request.width, request.sampler, request.steps, request.seed) == (48, "euler", 3, 4)


async def test_another_model_brings_its_own_settings(server):
    message = await made(server, prompt="red apple", sampler="lms", guidance=2.5)
    told = private_message(await edited(server, message, model=["other"]))
    result = await finished(server, await server.alice.click(told, label="Draw"))
    request = await request_of(server, result)
    model = server.engine.models["other"]
    assert request.model == "other" and (await row_of(server, result)).model == "other"
    assert (request.sampler, request.steps) == (model.defaults.sampler, model.defaults.steps)
    assert request.guidance_scale == model.defaults.guidance_scale


async def test_a_quality_and_a_style_are_drawn_together_with_other_words(server):
    message = await made(server, prompt="red apple", seed=4)
    told = private_message(await edited(server, message, way=["quality:draft"], style=["pixel art"]))
    words = await server.alice.click(told, label="Words and numbers")
    values = {label["component"]["custom_id"]: label["component"].get("value") or "" for label in words.modal["components"]}
    assert values["steps"] == str(server.engine.model.defaults.of("draft")["steps"])
    again = await server.alice.submit_modal(words, values | {"prompt": "green pear", "steps": "3"})
    request = await request_of(server, await finished(server, again))
    assert (request.prompt, request.steps) == ("green pear, pixel art", 3)
    assert request.sampler == server.engine.model.defaults.of("draft")["sampler"]


async def test_typed_words_choose_another_model_too(server):
    message = await made(server, prompt="red apple", sampler="lms")
    shown = await use(server.alice, message, "edit")
    values = {label["component"]["custom_id"]: label["component"].get("value") or "" for label in shown.modal["components"]}
    again = await server.alice.submit_modal(shown, values | {"prompt": "red apple --model other"})
    request = await request_of(server, await finished(server, again))
    assert (request.model, request.steps) == ("other", 3) and request.sampler in server.engine.models["other"].samplers


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Nothing was changed"),
        ({"size": "huge"}, "width x height"),
        ({"size": "2000x2000"}, "at most 512 here"),
        ({"size": "33x32"}, "multiple of 8"),
    ],
)
async def test_bad_input_is_refused_with_a_way_back(server, values, words):
    told = private_message(await edited(server, await made(server), **values))
    assert words in told.content and labels_of(told) == [["Model and look", "Words and numbers"]]
    shown = await server.alice.click(told, label="Model and look")
    assert controls_of(shown)["size"]["value"] == values.get("size", "32x32")


async def test_an_edit_that_is_gone_is_refused(server):
    told = private_message(await edited(server, await made(server), size="48x32"))
    await server.restart()
    assert "this one is gone" in private_text(await server.alice.click(told, label="Draw"))
