"""Several plain pictures of one prompt are drawn in the styles of the model's set."""

from dataclasses import replace

import pytest
from PIL import ImageChops

from diffusion.images.io import read_image
from diffusion.loading.random_weights import build_tiny_components
from tests.support.actions import form_of, use
from tests.support.messages import pictures_of, text_of
from tests.support.models import model_of
from tests.support.server import open_server


@pytest.fixture(scope="module")
def model():
    model = model_of(build_tiny_components())
    model.set_defaults(replace(model.defaults, steps=4, variety=40, set_styles=("", "flat"), styles=("flat", "ink")))
    return model


@pytest.fixture
async def server(model):
    async with open_server(model) as server:
        yield server


async def made(server, **options):
    result = await server.alice.slash(server.channel, "imagine", **options)
    await server.until_finished(result.response, options.get("count", 1))
    return result.response


async def styles_of(server, message):
    return (await server.service.creation_store.get_by_message(message.id)).request["styles"]


async def test_pictures_of_a_set_differ_in_style(server):
    message = await made(server, prompt="red fox", count=3, seed=7)

    assert "**red fox**" in text_of(message)
    descriptions = [picture.description for picture in pictures_of(message)]
    assert descriptions == [f"Picture {number} of 3: red fox{style}" for number, style in ((1, ""), (2, ", flat"), (3, ""))]
    assert "styles in turn: plain, flat" in text_of((await use(server.bob, message, "info")).response)
    alone = await made(server, prompt="red fox, flat", seed=8)
    drawn = [read_image(await picture.read()) for picture in (pictures_of(alone)[0], pictures_of(message)[1])]
    assert max(most for _, most in ImageChops.difference(*drawn).getextrema()) <= 1


@pytest.mark.parametrize(
    "options", [{"style": "ink"}, {"style": "none"}, {"prompt": "fox, ink"}, {"variety": 0}, {"count": 1}], ids=str
)
async def test_a_chosen_style_is_that_of_all_pictures(server, options):
    assert await styles_of(server, await made(server, **{"prompt": "fox", "count": 2, "seed": 7} | options)) == []


async def test_what_follows_from_a_set_keeps_its_styles(server):
    message = await made(server, prompt="red fox", count=2, seed=7)
    await server.restart()

    rerolled = await use(server.alice, message, "reroll")
    await server.until_finished(rerolled.response, 2)
    assert await styles_of(server, rerolled.response) == ["", "flat"]

    varied = await use(server.alice, message, "strong", 1)
    await server.until_finished(varied.response, 2)
    assert "**red fox, flat**" in text_of(varied.response) and await styles_of(server, varied.response) == []

    for prompt, wanted in (("green fox", ["", "flat"]), ("green fox, ink", []), ("green fox --style ink", [])):
        shown = await use(server.alice, message, "edit")
        edited = await server.alice.submit_modal(shown, form_of(shown) | {"prompt": prompt})
        await server.until_finished(edited.response, 2)
        assert await styles_of(server, edited.response) == wanted
