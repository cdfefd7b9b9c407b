"""/upscale, and the button below pictures, with an upscaler of toy size."""

import copy

import pytest

from diffusion.images.io import read_image
from tests.support.jobs import row_of, settings_of_row
from tests.support.messages import pictures_of, png, private_text, text_of
from tests.support.server import open_server
from tests.support.upscalers import nearest


@pytest.fixture
async def upscaling(tiny_model):
    model = copy.copy(tiny_model)
    model.offer_upscaler(nearest())
    async with open_server(model) as server:
        yield server


async def enlarged(server, result):
    await server.until_finished(result.response)
    return read_image(await pictures_of(result.response)[0].read())


async def made(server, **options):
    result = await server.alice.slash(server.channel, "imagine", **{"prompt": "red apple", "steps": 2, "seed": 3} | options)
    await server.until_finished(result.response, options.get("count", 1))
    return result.response


@pytest.mark.parametrize(("options", "size"), [({}, (120, 100)), ({"factor": 4}, (240, 200))])
async def test_upscale_enlarges_an_attached_picture(upscaling, options, size):
    result = await upscaling.alice.slash(upscaling.channel, "upscale", image=("in.png", png((60, 50))), **options)
    picture = await enlarged(upscaling, result)
    assert picture.size == size and picture.getpixel((0, 0)) == (255, 0, 0)
    assert "**Enlarged picture**" in text_of(result.response)
    assert f"60x50 ×{size[0] // 60} · enlarged by an upscaler" in await settings_of_row(upscaling, result.response)
    row = await row_of(upscaling, result.response)
    again = await upscaling.bob.slash(upscaling.channel, "upscale", link=row.short_id)
    assert (await enlarged(upscaling, again)).size == (2 * size[0], 2 * size[1])


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        ((300, 300), {}, "300x300 has more"),
        ((520, 10), {"factor": 4}, "The enlarged picture would be larger than 2048x2048: its longer side would be 2080."),
    ],
)
async def test_upscale_refuses_what_is_too_large(upscaling, image, options, words):
    result = await upscaling.alice.slash(upscaling.channel, "upscale", image=("in.png", png(image)), **options)
    assert words in private_text(result)


async def test_upscale_says_that_there_is_no_upscaler(server):
    result = await server.alice.slash(server.channel, "upscale", image=("in.png", png((60, 50))))
    assert "There is no upscaler here." in private_text(result)


async def test_button_asks_and_enlarges_by_the_upscaler(upscaling):
    message = await made(upscaling, size="64x32")
    asked = await upscaling.alice.click(message, label="Upscale")
    assert "How should I enlarge this picture?" in private_text(asked)
    result = await upscaling.alice.select(asked.response, ["4"])
    picture = await enlarged(upscaling, result)
    source = read_image(await pictures_of(message)[0].read())
    assert picture.size == (256, 128) and picture.getpixel((0, 0)) == source.getpixel((0, 0))
    assert "**red apple**" in text_of(result.response)
    assert "64x32 ×4 · enlarged by an upscaler" in await settings_of_row(upscaling, result.response)
    labels = [child.label for row in result.response.components for child in getattr(row, "children", [])]
    assert "How it formed" not in labels

    again = await upscaling.alice.click(result.response, label="Reroll")
    await upscaling.until_finished(again.response)
    assert "64x32 · 2 steps" in await settings_of_row(upscaling, again.response)


async def test_button_still_draws_again_at_twice_the_size(upscaling):
    asked = await upscaling.alice.click(await made(upscaling, size="64x32"), label="Upscale")
    result = await upscaling.alice.select(asked.response, ["0"])
    assert (await enlarged(upscaling, result)).size == (128, 64)
    assert "128x64 · 2 steps from 1" in await settings_of_row(upscaling, result.response)


async def test_numbered_button_enlarges_its_picture(upscaling):
    message = await made(upscaling, count=2)
    asked = await upscaling.alice.click(message, label="U2")
    result = await upscaling.alice.select(asked.response, ["2"])
    picture = await enlarged(upscaling, result)
    source = read_image(await pictures_of(message)[1].read())
    assert picture.size == (64, 64) and picture.getpixel((0, 0)) == source.getpixel((0, 0))
    assert "seed 4 " in await settings_of_row(upscaling, result.response)


async def test_an_enlargement_is_resumed_after_a_restart(upscaling):
    upscaling.engine.pause()
    result = await upscaling.alice.slash(upscaling.channel, "upscale", image=("in.png", png((60, 50))))
    await upscaling.until(lambda: len(upscaling.service.jobs) == 1)
    await upscaling.restart()
    upscaling.engine.resume()
    await upscaling.until(lambda: pictures_of(upscaling.channel.history()[-1]))
    message = upscaling.channel.history()[-1]
    assert read_image(await pictures_of(message)[0].read()).size == (120, 100)
    assert result.response.id == message.id
