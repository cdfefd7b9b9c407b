import pytest

from cogs.core.request.preferences import Preferences, Scope
from diffusion.images.io import read_image
from tests.support.actions import use
from tests.support.interactions import forge_form
from tests.support.jobs import row_of
from tests.support.messages import pictures_of, private_text
from tests.support.results import finished, made


async def picture_of(message, index=0):
    return read_image(await pictures_of(message)[index].read())


@pytest.mark.parametrize(
    ("action", "size", "kept"),
    [
        ("zoom_out_1_5", (32, 32), (8, 8, 24, 24)),
        ("zoom_out_2", (32, 32), (8, 8, 24, 24)),
        ("pan_left", (40, 24), (16, 0, 40, 24)),
        ("pan_right", (40, 24), (0, 0, 24, 24)),
        ("pan_up", (24, 40), (0, 16, 24, 40)),
        ("pan_down", (24, 40), (0, 0, 24, 24)),
    ],
)
async def test_extending_a_picture_keeps_it_and_draws_around_it(server, action, size, kept):
    message = await made(server, prompt="red apple", negative="pear")
    larger = await finished(server, await use(server.bob, message, action))
    assert (await picture_of(larger)).size == size
    request = await server.service.runner.request_of(await row_of(server, larger))
    assert (request.prompt, request.negative_prompt, request.sampler) == ("red apple", "pear", "ddim")
    small = request.image.crop(kept)
    assert (await picture_of(larger)).crop(kept).tobytes() == small.tobytes()
    assert request.mask.crop(kept).getextrema() == (0, 0)


async def test_pan_takes_the_chosen_of_several_pictures(server):
    message = await made(server, prompt="red apple", count=3, seed=7)
    wider = await use(server.alice, message, "pan_right", picture=2)
    await finished(server, wider, 3)
    request = await server.service.runner.request_of(await row_of(server, wider.response))
    whole = (await picture_of(message, 2)).resize((24, 24))
    difference = [abs(a - b) for a, b in zip(request.image.crop((0, 0, 24, 24)).tobytes(), whole.tobytes(), strict=True)]
    assert max(difference) < 40


async def zoomed(server, member=None, **values):
    message = await made(server, prompt="red apple")
    shown = await use(member or server.alice, message, "zoom_out")
    filled = {"zoom": "1,5x", "prompt": "red apple"} | values
    return await forge_form(server, member or server.alice, shown, filled)


async def test_custom_zoom_takes_another_prompt_and_its_flags(server):
    larger = await finished(server, await zoomed(server, prompt="an orchard --steps 4"))
    request = await server.service.runner.request_of(await row_of(server, larger))
    assert (request.prompt, request.steps, request.start_step) == ("an orchard", 4, 1)
    assert request.mask.getpixel((0, 0)) == 255


async def test_custom_zoom_asks_before_it_draws_several_prompts(server):
    asked = await zoomed(server, prompt="{an orchard|a bowl}")
    assert "This makes 2 pictures" in asked.response.content
    await finished(server, await server.alice.click(asked.response, label="Start"), 2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"zoom": "5"}, "from 1.1 to 2"),
        ({"zoom": "far"}, "from 1.1 to 2"),
        ({"zoom": "nan"}, "from 1.1 to 2"),
        ({"prompt": "a bowl --ar 3:2"}, "Leave out `--ar`"),
        ({"prompt": "a bowl --steps 900"}, "150"),
    ],
)
async def test_custom_zoom_refuses_bad_input_privately(server, values, words):
    assert words in private_text(await zoomed(server, **values))


async def test_extending_keeps_to_the_authors_wish_and_the_servers_words(server):
    message = await made(server, prompt="red apple")
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(remix=False))
    for action in ("pan_left", "zoom_out"):
        assert "does not allow" in private_text(await use(server.bob, message, action))
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, Preferences(words=("bowl",)))
    shown = await use(server.alice, message, "zoom_out")
    refused = await forge_form(server, server.alice, shown, {"zoom": "2", "prompt": "a bowl"})
    answers = [answer for answer in (refused.response, *refused.followups) if answer]
    assert "do not allow “bowl”" in answers[-1].content


async def test_extending_goes_on_after_a_restart(server):
    message = await made(server, prompt="red apple")
    await server.restart()
    await finished(server, await use(server.alice, message, "zoom_out_2"))
