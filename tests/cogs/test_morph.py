import pytest
from discord import Guild

from diffusion.images.animation import decode_animation
from diffusion.images.io import read_image
from diffusion.images.parameters import read_parameters
from diffusion.request import Limits
from tests.support.jobs import row_of, settings_of_row, slow_down
from tests.support.messages import pictures_of, png, private_text, source_of, text_of


async def asked(server, **options):
    options = {"from": "red apple", "to": "green pear", "frames": 4, "steps": 3, "seed": 7} | options
    given = {name: value for name, value in options.items() if value is not None}
    return await server.alice.slash(server.channel, "morph", **given)


async def morphed(server, **options):
    result = await asked(server, **options)
    await server.until_finished(result.response)
    return result.response


async def animation(message):
    (file,) = pictures_of(message)
    return await file.read()


async def test_morph_is_an_animation_there_and_back(server):
    message = await morphed(server)
    frames, milliseconds = decode_animation(await animation(message))
    assert len(frames) == 6 and frames[0].size == (32, 32)
    assert frames[1].tobytes() != frames[0].tobytes()
    assert frames[1].tobytes() == frames[5].tobytes() and frames[2].tobytes() == frames[4].tobytes()
    assert milliseconds[0] == milliseconds[3] > milliseconds[1]
    assert pictures_of(message)[0].name == "darkroom-7.webp"
    assert pictures_of(message)[0].description == "Animation: red apple → green pear"
    assert "**red apple** → **green pear**" in text_of(message)
    assert "seed 7 to 8 · 4 frames · 32x32" in await settings_of_row(server, message)


async def test_morph_can_be_a_gif(server):
    data = await animation(await morphed(server, format="gif"))
    assert data.startswith(b"GIF8")
    assert len(decode_animation(data)[0]) == 6


async def test_morph_style_applies_to_both_prompts(server):
    message = await morphed(server, style="pixel art")
    assert "**red apple, pixel art** → **green pear, pixel art**" in text_of(message)


async def test_morph_has_a_default_number_of_frames(server):
    message = await morphed(server, frames=None)
    assert len(decode_animation(await animation(message))[0]) == 22


async def test_reroll_of_a_morph_changes_the_seeds_only(server):
    message = await morphed(server)
    again = await server.bob.click(message, label="Reroll")
    await server.until_finished(again.response)
    before, after = (read_parameters(data) for data in (await animation(message), await animation(again.response)))
    assert before.pop("seed") != after.pop("seed")
    assert before == after and after["morph_to"] == "green pear"


async def test_more_like_a_morph_starts_from_its_first_frame(server):
    message = await morphed(server, steps=5)
    more = await server.alice.click(message, label="Vary (strong)")
    await server.until_finished(more.response)
    assert "5 steps from 1" in await settings_of_row(server, more.response)
    assert pictures_of(more.response)[0].name.endswith(".png")


async def test_morph_goes_from_picture_to_picture(server):
    pictures = {"from_picture": ("a.png", png((64, 32), "red")), "to_picture": ("b.png", png((30, 30), "blue"))}
    result = await server.alice.slash(server.channel, "morph", **pictures, frames=3, steps=10, seed=7)
    await server.until_finished(result.response)
    row = await row_of(server, result.response)
    assert row.request["start_step"] == 4 and (row.request["width"], row.request["height"]) == (48, 24)
    source = read_image(await source_of(result.response).read())
    assert source.size == (96, 24)
    assert source.getpixel((10, 10)) == (255, 0, 0) and source.getpixel((86, 10)) == (0, 0, 255)
    frames, _ = decode_animation(await animation(result.response))
    assert len(frames) == 4 and frames[0].tobytes() != frames[2].tobytes()
    again = await server.bob.click(result.response, label="Reroll")
    await server.until_finished(again.response)
    assert await source_of(again.response).read() == await source_of(result.response).read()


async def test_morph_of_pictures_takes_texts_too(server):
    pictures = {"from_picture": ("a.png", png()), "to_picture": ("b.png", png())}
    message = await morphed(server, **pictures, steps=4)
    assert "**red apple** → **green pear**" in text_of(message) and source_of(message)
    message = await morphed(server, **pictures, steps=4, **{"from": None})
    assert "**green pear** → **green pear**" in text_of(message)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"from_picture": ("a.png", png())}, "Attach `to_picture`, too"),
        ({"to_picture": ("a.png", png()), "from": None, "to": None}, "Attach `from_picture`, too"),
        ({"from": None}, "Say what it shows first"),
        ({"from": None, "to": None}, "Say what it shows first"),
        ({"to": None}, "The second prompt is empty"),
    ],
)
async def test_morph_refuses_what_is_neither_two_texts_nor_two_pictures(server, options, words):
    assert words in private_text(await asked(server, **options))


async def test_morph_resumes_after_a_restart_unchanged(server, monkeypatch):
    whole = await morphed(server, steps=20)
    slow_down(server, monkeypatch)
    result = await asked(server, steps=20)
    await server.until(lambda: "step" in text_of(result.response))
    await server.restart()
    await server.until_finished(result.response)
    assert await animation(result.response) == await animation(whole)


async def test_morph_over_the_upload_limit_is_sent_smaller(server, monkeypatch):
    whole = await animation(await morphed(server))
    monkeypatch.setattr(Guild, "filesize_limit", len(whole) * 3 // 4)
    message = await morphed(server)
    data = await animation(message)
    assert len(data) <= len(whole) * 3 // 4
    assert len(decode_animation(data)[0]) == 6
    assert "too large here" in text_of(message)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "\u200b"}, "The second prompt is empty"),
        ({"from": "\u200b"}, "The prompt is empty"),
        ({"to": "語" * 120}, "would be ignored"),
        ({"size": "33x32"}, "multiple of 8"),
        ({"size": "wide"}, "The size must be"),
        ({"from": "{red|blue} apple"}, "needs two plain prompts"),
        ({"to": "{red|blue} pear"}, "needs two plain prompts"),
    ],
)
async def test_morph_rejects_invalid_options_privately(server, options, words):
    assert words in private_text(await asked(server, **options))


async def test_morph_frames_are_limited(server):
    object.__setattr__(server.engine.config, "limits", Limits(frames=5))
    assert "frames may be at most 5 here, not 6" in private_text(await asked(server, frames=6))
    assert len(decode_animation(await animation(await morphed(server, frames=None)))[0]) == 8
