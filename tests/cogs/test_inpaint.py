import io

import numpy as np
import pytest
from PIL import Image

from cogs.inpaint import NO_MASK, TWO_MASKS
from diffusion.images.io import read_image
from diffusion.images.masks import read_masked
from diffusion.images.parameters import read_parameters
from tests.support.jobs import settings_of_row, slow_down
from tests.support.messages import pictures_of, png, private_text, source_of, text_of

GRADIENT = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
PATIENT = {"prompt": "red apple", "steps": 4, "seed": 7}


def encoded(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def white_at(box, size=(64, 64)):
    mask = Image.new("RGB", size, "black")
    mask.paste("white", box)
    return "mask.png", encoded(mask)


def holed(box):
    image = GRADIENT.convert("RGBA")
    image.paste((0, 0, 0, 0), box)
    return "holed.png", encoded(image)


IMAGE = ("in.png", encoded(GRADIENT))


async def inpainted(server, image=IMAGE, **options):
    result = await server.alice.slash(server.channel, "inpaint", image=image, **PATIENT | options)
    await server.until_finished(result.response)
    return result.response


async def changed(message):
    """The box that was drawn anew: where the picture is not its source."""
    source, _ = read_masked(await source_of(message).read())
    picture = read_image(await pictures_of(message)[0].read())
    rows, columns = np.nonzero((np.asarray(picture) != np.asarray(source)).any(2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(
    "options",
    [
        {"mask": white_at((0, 0, 32, 64))},
        {"mask": white_at((0, 0, 300, 999), (600, 999))},
        {"region": "left"},
        {"region": "0,0,50,100"},
        {"image": holed((0, 0, 32, 64))},
        {"image": holed((32, 0, 64, 64)), "region": "left"},
    ],
)
async def test_inpaint_redraws_the_masked_part_only(server, options):
    message = await inpainted(server, **options)
    left, top, right, bottom = await changed(message)
    assert (left, top, bottom) == (0, 0, 32) and 12 <= right <= 16
    assert "a part redrawn" in await settings_of_row(server, message)
    assert (await read(message))["prompt"] == "red apple"


async def read(message):
    return read_parameters(await pictures_of(message)[0].read())


async def test_inpaint_source_stores_the_mask_as_transparency(server):
    message = await inpainted(server, region="left")
    _, mask = read_masked(await source_of(message).read())
    assert mask.getbbox() == (0, 0, 16, 32)


async def test_inpaint_scales_the_picture_to_the_models_area(server):
    message = await inpainted(server, image=("wide.png", png((600, 150))), region="left")
    assert read_image(await pictures_of(message)[0].read()).size == (64, 16)


async def test_reroll_redraws_the_same_part(server):
    message = await inpainted(server, region="middle")
    again = await server.bob.click(message, label="Reroll")
    await server.until_finished(again.response)
    assert await source_of(again.response).read() == await source_of(message).read()
    assert await pictures_of(again.response)[0].read() != await pictures_of(message)[0].read()
    assert await changed(again.response) == await changed(message)


async def test_more_like_this_redraws_the_whole_picture(server):
    message = await inpainted(server, region="left")
    more = await server.alice.click(message, label="Vary (subtle)")
    await server.until_finished(more.response)
    assert "a part redrawn" not in await settings_of_row(server, more.response)


async def test_inpaint_resumes_after_a_restart_unchanged(server, monkeypatch):
    whole = await inpainted(server, region="top", steps=30)
    slow_down(server, monkeypatch)
    result = await server.alice.slash(server.channel, "inpaint", image=IMAGE, region="top", **PATIENT | {"steps": 30})
    await server.until(lambda: "apple" in text_of(result.response))
    await server.restart()
    await server.until_finished(result.response)
    assert await pictures_of(result.response)[0].read() == await pictures_of(whole)[0].read()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, NO_MASK),
        ({"mask": white_at((0, 0, 9, 9)), "region": "left"}, TWO_MASKS),
        ({"region": "somewhere"}, "The region must be left, right"),
        ({"region": "60,0,50,50"}, "must lie inside"),
        ({"mask": white_at((0, 0, 0, 0))}, "The mask is empty"),
        ({"mask": ("mask.png", b"junk")}, "as a picture"),
        ({"image": ("in.png", b"junk"), "region": "left"}, "as a picture"),
        ({"image": ("in.png", b"junk")}, "as a picture"),
        ({"image": holed((0, 0, 0, 0))}, NO_MASK),
        ({"region": "left", "prompt": "語" * 120}, "would be ignored"),
    ],
)
async def test_inpaint_rejects_invalid_options_privately(server, options, words):
    asked = {"image": IMAGE} | PATIENT | options
    assert words in private_text(await server.alice.slash(server.channel, "inpaint", **asked))


async def test_inpaint_offers_regions_by_name(server):
    offered = await server.alice.autocomplete(server.channel, "inpaint", "region", "t")
    assert [choice["value"] for choice in offered] == ["left", "right", "top", "bottom"]


async def test_inpaint_with_variants_redraws_the_same_part(server):
    asked = await server.alice.slash(
        server.channel, "inpaint", image=IMAGE, region="left", **PATIENT | {"prompt": "{red|blue} fox"}
    )
    assert "This makes 2 pictures" in asked.response.content
    message = (await server.alice.click(asked.response, label="Start")).response
    await server.until_finished(message, 2)
    assert await changed(message) == (0, 0, 16, 32)
