import numpy as np
import pytest

from diffusion.images.io import read_image
from diffusion.images.masks import read_masked
from tests.support.jobs import settings_of_row
from tests.support.messages import pictures_of, png, private_text, source_of

IMAGE = ("in.png", png((40, 40)))


async def outpainted(server, image=IMAGE, **options):
    asked = {"prompt": "red apple", "direction": "right", "steps": 4, "seed": 7} | options
    result = await server.alice.slash(server.channel, "outpaint", image=image, **asked)
    await server.until_finished(result.response)
    return result.response


@pytest.mark.parametrize(
    ("options", "size", "kept"),
    [
        ({}, (40, 24), (0, 0, 24, 24)),
        ({"direction": "left"}, (40, 24), (16, 0, 40, 24)),
        ({"direction": "up"}, (24, 40), (0, 16, 24, 40)),
        ({"direction": "down", "share": 1.0}, (24, 48), (0, 0, 24, 24)),
        ({"direction": "all", "share": 1.0}, (32, 32), (8, 8, 24, 24)),
    ],
)
async def test_outpaint_extends_the_picture_and_keeps_it(server, options, size, kept):
    message = await outpainted(server, **options)
    picture = read_image(await pictures_of(message)[0].read())
    assert picture.size == size
    assert set(picture.crop(kept).get_flattened_data()) == {(255, 0, 0)}
    assert len(set(picture.get_flattened_data())) > 50
    assert "4 steps from 1 · a part redrawn" in await settings_of_row(server, message)


async def test_reroll_of_an_outpaint_keeps_the_picture(server):
    message = await outpainted(server)
    again = await server.bob.click(message, label="Reroll")
    await server.until_finished(again.response)
    assert await source_of(again.response).read() == await source_of(message).read()
    _, mask = read_masked(await source_of(message).read())
    kept = np.asarray(mask) == 0
    before, after = [np.asarray(read_image(await pictures_of(shown)[0].read())) for shown in (message, again.response)]
    assert (before[kept] == after[kept]).all() and (before[~kept] != after[~kept]).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": ("in.png", b"junk")}, "as a picture"),
        ({"image": ("in.png", png((1, 2000)))}, "too narrow"),
        ({"prompt": "語" * 120}, "would be ignored"),
    ],
)
async def test_outpaint_rejects_invalid_options_privately(server, options, words):
    asked = {"image": ("in.png", png()), "prompt": "red apple", "direction": "right"} | options
    assert words in private_text(await server.alice.slash(server.channel, "outpaint", **asked))


async def test_outpaint_with_variants_extends_the_same_picture(server):
    options = {"prompt": "{red|blue} fox", "direction": "right", "steps": 4}
    asked = await server.alice.slash(server.channel, "outpaint", image=IMAGE, **options)
    assert "This makes 2 pictures" in asked.response.content
    message = (await server.alice.click(asked.response, label="Start")).response
    await server.until_finished(message, 2)
