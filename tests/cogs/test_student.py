"""What members get of a model with a student: plain pictures in few steps, and all others of the teacher."""

from types import SimpleNamespace

import pytest

from cogs.core.generation.builder import RequestBuilder
from cogs.core.policy.context import Context
from cogs.core.request.options import Options
from cogs.core.request.preferences import Preferences
from cogs.core.request.prompt import parse_prompt
from diffusion.errors import InvalidRequestError
from diffusion.images.parameters import read_parameters
from diffusion.loading.random_weights import build_tiny_components
from diffusion.request import Limits
from tests.support.actions import use
from tests.support.messages import pictures_of, private_message, text_of
from tests.support.models import model_of, taught_model_of
from tests.support.server import open_server

STUDENTS = (3, 1.0, "distilled")
TEACHERS = (8, 3.0, "dpm++")


@pytest.fixture(scope="module")
def model():
    return taught_model_of(build_tiny_components("v_prediction"))


@pytest.fixture(scope="module")
def plain():
    return model_of(build_tiny_components())


@pytest.fixture
def builder(model):
    return RequestBuilder(SimpleNamespace(models={}, model=model, model_of=lambda name: model))


@pytest.fixture
async def server(model):
    async with open_server(model) as server:
        yield server


def context_of(preferences, steps=150):
    limits = Limits(side=256, steps=steps)
    nobody = {"interaction": None, "member_id": 1, "role_ids": frozenset(), "guild_id": None, "place_ids": frozenset()}
    here = {"is_age_restricted": False, "server": Preferences(), "language": "en", "channel_language": "en"}
    return Context(preferences=preferences, limits=limits, **nobody, **here)


async def made(server, command="imagine", **options):
    result = await server.alice.slash(server.channel, command, **options)
    await server.until_finished(result.response)
    return result.response


async def drawn(server, message):
    """The steps, guidance and sampler of the pictures of a message."""
    request = (await server.service.creation_store.get_by_message(message.id)).request
    return request["steps"], request["guidance_scale"], request["sampler"]


async def test_a_plain_picture_is_drawn_and_rerolled_by_the_student(server):
    message = await made(server, prompt="red apple", seed=7)
    again = await server.alice.click(message, label="Reroll")
    await server.until_finished(again.response)

    assert await drawn(server, message) == await drawn(server, again.response) == STUDENTS
    assert read_parameters(await pictures_of(message)[0].read())["sampler"] == "distilled"


@pytest.mark.parametrize(
    ("prompt", "options", "preferred", "wanted"),
    [
        ("apple", {}, {}, STUDENTS),
        ("apple", {"count": 4, "seed": 3, "style": "ink", "quality": "standard"}, {}, STUDENTS),
        ("{red|green} apple --seed 3", {}, {"sampler": "distilled", "quality": "standard"}, STUDENTS),
        ("apple", {"quality": "standard"}, {"steps": 9, "sampler": "ddim", "quality": "fine"}, STUDENTS),
        ("apple", {"sampler": "Distilled"}, {"quality": "fine", "guidance": 2.0}, STUDENTS),
        ("apple", {"quality": "fast"}, {}, STUDENTS),
        ("apple", {}, {"quality": "fast"}, STUDENTS),
        ("apple --no pear", {"quality": "fast"}, {}, TEACHERS),
        ("apple --steps 7", {"quality": "fast"}, {}, (7, 3.0, "dpm++")),
        ("apple", {}, {"quality": "fine"}, (50, 3.0, "dpm++")),
        ("apple", {"quality": "fine"}, {}, (50, 3.0, "dpm++")),
        ("apple", {"negative": "pear"}, {"sampler": "distilled"}, TEACHERS),
        ("apple --no pear", {}, {}, TEACHERS),
        ("apple", {"size": "64x32"}, {}, TEACHERS),
        ("apple --steps 8", {}, {}, TEACHERS),
        ("apple", {}, {"steps": 9}, (9, 3.0, "dpm++")),
        ("apple", {"guidance": 3.0}, {}, TEACHERS),
        ("apple", {"variety": 30}, {}, STUDENTS),
        ("apple", {}, {"variety": 30}, STUDENTS),
        ("apple", {}, {"guidance": 2.0}, (8, 2.0, "dpm++")),
        ("apple", {}, {"sampler": "ddim"}, (8, 3.0, "ddim")),
        ("apple", {"quality": "standard"}, {"guidance": 2.0, "steps": 9}, (8, 2.0, "dpm++")),
    ],
    ids=str,
)
def test_the_student_draws_what_names_no_steps_sampler_guidance_or_other_quality(builder, prompt, options, preferred, wanted):
    request = builder.build(context_of(Preferences(**preferred)), parse_prompt(prompt), Options(**options))

    assert (request.steps, request.guidance_scale, request.sampler) == wanted


def test_a_limit_below_the_students_steps_is_the_teachers(builder):
    request = builder.build(context_of(Preferences(), steps=2), parse_prompt("apple"))
    assert (request.steps, request.sampler) == (2, "dpm++")


def test_what_the_students_sampler_cannot_draw_is_refused(builder):
    with pytest.raises(InvalidRequestError, match="The sampler Distilled draws plain pictures of 32x32 alone"):
        builder.build(context_of(Preferences()), parse_prompt("apple --no pear"), Options(sampler="Distilled"))


def test_an_edit_for_a_model_without_a_student_has_its_settings(model, plain):
    engine = SimpleNamespace(models={"plain": plain}, model=model, model_of=lambda name: plain if name == "plain" else model)
    builder = RequestBuilder(engine)
    edited = builder.edit(context_of(Preferences()), model.request("apple"), parse_prompt("apple --model plain"))
    assert (edited.steps, edited.guidance_scale, edited.sampler) == (25, 7.5, "dpm++")


async def test_what_follows_from_a_students_picture_is_the_teachers(server):
    message = await made(server, prompt="red apple", seed=7)

    more = await server.alice.click(message, label="Vary (strong)")
    await server.until_finished(more.response)
    row = await server.service.creation_store.get_by_message(more.response.id)
    assert await drawn(server, more.response) == (8, 3.0, "ddim") and row.request["start_step"] == 2

    shown = await server.alice.click(message, label="Edit")
    typed = {"prompt": "red apple", "negative": "pear", "steps": "3", "guidance": "1", "seed": "7"}
    edited = await server.alice.submit_modal(shown, typed)
    await server.until_finished(edited.response)
    assert await drawn(server, edited.response) == TEACHERS

    timelapse = await server.alice.click(message, label="How it formed")
    assert "in 3 steps" in text_of(timelapse.response)
    chosen = await server.alice.select(timelapse.response, ["2"])
    branch = await server.alice.submit_modal(chosen, {"prompt": "green pear"})
    await server.until_finished(branch.response)
    row = await server.service.creation_store.get_by_message(branch.response.id)
    assert await drawn(server, branch.response) == TEACHERS and row.request["branches"] == [[6, "green pear"]]


async def test_a_quality_below_a_picture_is_that_of_a_new_one(server):
    for quality, options in (("standard", {}), ("fast", {"negative": "pear"})):
        new = await made(server, prompt="red apple", seed=7, quality=quality, **options)
        wanted = (await server.service.creation_store.get_by_message(new.id)).request
        shown = await use(server.alice, await made(server, prompt="red apple", seed=7, quality="fine", **options), "look")
        chosen = private_message(await server.alice.submit_modal(shown, {"size": "32x32", "way": [f"quality:{quality}"]}))
        result = await server.alice.click(chosen, label="Draw")
        await server.until_finished(result.response)
        assert (await server.service.creation_store.get_by_message(result.response.id)).request == wanted


async def test_a_morph_is_the_teachers(server):
    message = await made(server, "morph", **{"from": "red apple", "to": "green pear", "frames": 2})
    assert await drawn(server, message) == TEACHERS
