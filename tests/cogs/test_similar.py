import pytest

from cogs.core.messages import attachments
from diffusion.images.io import read_image
from diffusion.images.parameters import read_parameters
from tests.support.actions import use
from tests.support.jobs import settings_of_row
from tests.support.messages import files_of, pictures_of, png, private_text, source_of, text_of


async def test_similar_posts_pictures_with_their_source(server):
    result = await server.alice.slash(
        server.channel, "similar", image=("in.png", png()), prompt="red apple", similarity=0.5, steps=10, count=2
    )
    await server.until_finished(result.response, 2)
    assert source_of(result.response) and not any(file.spoiler for file in files_of(result.response))
    assert "10 steps from 5" in await settings_of_row(server, result.response)
    assert read_parameters(await pictures_of(result.response)[0].read())["sampler"] == "ddim"


@pytest.mark.parametrize(("prompt", "worded"), [({"prompt": "apple"}, "apple, pixel art"), ({}, "pixel art")])
async def test_similar_applies_a_style_with_or_without_a_prompt(server, prompt, worded):
    result = await server.alice.slash(server.channel, "similar", image=("in.png", png()), style="pixel art", steps=3, **prompt)
    await server.until_finished(result.response)
    assert f"**{worded}**" in text_of(result.response)


async def test_similar_needs_no_prompt(server):
    result = await server.alice.slash(server.channel, "similar", image=("in.png", png()), steps=3)
    await server.until_finished(result.response)
    assert "Similar picture" in text_of(result.response)


async def test_similar_accepts_a_start_step(server):
    result = await server.alice.slash(server.channel, "similar", image=("in.png", png()), steps=10, start_step=7)
    await server.until_finished(result.response)
    assert "10 steps from 7" in await settings_of_row(server, result.response)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (48, 24)),
        ({"size": "40x32"}, (40, 32)),
        ({"prompt": "apple --ar 1:4"}, (16, 64)),
    ],
    ids=["of the picture", "option", "flag"],
)
async def test_similar_keeps_the_proportions_unless_others_are_chosen(server, monkeypatch, options, size):
    waiting = []
    submit = server.engine.submit
    monkeypatch.setattr(server.engine, "submit", lambda request, **who: waiting.append(request) or submit(request, **who))
    result = await server.alice.slash(server.channel, "similar", image=("in.png", png((80, 40))), steps=2, **options)
    await server.until_finished(result.response)
    for file in (*pictures_of(result.response), source_of(result.response)):
        assert read_image(await file.read()).size == size
    assert waiting[0].image.size == size  # no more pixels wait than are drawn


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (b"junk", {}, "as a picture"),
        (png()[:60], {}, "damaged"),
        (png(), {"similarity": 0.5, "start_step": 3}, "not both"),
        (png(), {"steps": 5, "start_step": 9}, "start step"),
    ],
)
async def test_similar_rejects_invalid_input_privately(server, data, options, words):
    result = await server.alice.slash(server.channel, "similar", image=("in.png", data), **options)
    assert words in private_text(result)


async def test_similar_does_not_download_a_large_attachment(server, monkeypatch):
    monkeypatch.setattr(attachments, "MAX_BYTES", 10)
    result = await server.alice.slash(server.channel, "similar", image=("in.png", png()))
    assert "larger than" in private_text(result)


async def test_similar_with_ten_pictures_leaves_out_the_source(server):
    ten = "{a|b|c|d|e|f|g|h|i|j} fox"
    asked = await server.alice.slash(server.channel, "similar", image=("in.png", png()), prompt=ten, steps=2)
    message = (await server.alice.click(asked.response, label="Start")).response
    await server.until_finished(message, 10)
    await server.until_idle()
    assert len(files_of(message)) == 10
    again = await use(server.alice, message, "reroll")
    await server.until_finished(again.response, 10)
    await server.until_idle()
    first, second = [await server.service.creation_store.get_by_message(each.id) for each in (message, again.response)]
    assert first.source == second.source is not None
    await server.service.image_store.delete([first.source])
    assert "attach it to `/similar`" in private_text(await use(server.alice, message, "reroll"))
