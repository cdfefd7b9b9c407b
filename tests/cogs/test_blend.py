import pytest

from cogs.blend import parse_weights
from diffusion.errors import InvalidRequestError
from diffusion.images.io import read_image
from diffusion.images.parameters import read_text_chunks
from tests.support.actions import use
from tests.support.jobs import row_of
from tests.support.messages import pictures_of, png, private_text, source_of
from tests.support.results import finished

RED, BLUE = ("red.png", png((40, 40), "red")), ("blue.png", png((80, 40), "blue"))


async def blended(server, **options):
    given = {"image1": RED, "image2": BLUE, "prompt": "a pond", "steps": 4, "seed": 1} | options
    return await server.alice.slash(server.channel, "blend", **{name: value for name, value in given.items() if value})


def note_of(result):
    return result.followups[-1].content


async def test_blend_starts_from_the_weighted_mean_of_the_pictures(server):
    result = await blended(server, weights="3:1", similarity=0.5)
    message = await finished(server, result)
    assert "not what they mean" in note_of(result) and result.followups[-1].ephemeral
    request = await server.service.runner.request_of(await row_of(server, message))
    assert (request.blend, request.start_step, request.image.size) == ((3.0, 1.0), 2, (64, 32))
    red, blue = (request.image.crop((left, 0, left + 32, 32)) for left in (0, 32))
    assert (red.getpixel((9, 9)), blue.getpixel((9, 9))) == ((255, 0, 0), (0, 0, 255))
    assert "Blend weights: 3:1" in read_text_chunks(await pictures_of(message)[0].read())["parameters"]
    assert read_image(await source_of(message).read()).size == (64, 32)


async def test_blend_asks_for_the_pictures_in_a_form(server):
    shown = await blended(server, image1=None, image2=None, prompt="a pond")
    assert shown.modal["title"] == "Blend pictures"
    files = [RED, BLUE, ("green.png", png((9, 9), "lime"))]
    result = await server.alice.submit_modal(shown, {"pictures": files, "prompt": "a lake", "weights": ""})
    request = await server.service.runner.request_of(await row_of(server, await finished(server, result)))
    assert (request.prompt, request.blend, request.image.width) == ("a lake", (1.0, 1.0, 1.0), 96)


async def test_a_blend_is_drawn_again_after_a_restart_and_by_its_buttons(server):
    message = await finished(server, await blended(server))
    await server.restart()
    again = await finished(server, await use(server.bob, message, "reroll"))
    assert await source_of(again).read() == await source_of(message).read()
    row = await row_of(server, message)
    shown = await server.alice.slash(server.channel, "show", id=str(row.id))
    answer = next(each for each in (shown.response, *shown.followups) if each)
    replayed = await finished(server, await server.alice.click(answer, label="Replay"))
    assert await pictures_of(replayed)[0].read() == await pictures_of(message)[0].read()
    close = await finished(server, await use(server.alice, message, "subtle"))
    request = await server.service.runner.request_of(await row_of(server, close))
    assert request.blend == () and request.image.size == (32, 32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image2": None}, "takes two to five pictures"),
        ({"weights": "1,2,3"}, "2 numbers"),
        ({"weights": "much"}, "2 numbers"),
        ({"weights": "1,0"}, "above 0"),
        ({"weights": "1,nan"}, "above 0"),
        ({"image2": ("in.png", b"junk")}, "as a picture"),
        ({"prompt": "語" * 120}, "would be ignored"),
    ],
)
async def test_blend_refuses_bad_input_privately(server, options, words):
    assert words in private_text(await blended(server, **options))


async def test_blend_names_all_mistakes_at_once(server):
    lines = private_text(await blended(server, weights="much", size="33x32")).splitlines()
    assert len(lines) == 2 and all(any(word in line for line in lines) for word in ("2 numbers", "multiple of 8"))
    lines = private_text(await blended(server, image2=None, size="big")).splitlines()
    assert len(lines) == 2 and "two to five" in lines[0] and "width x height" in lines[1]
    lines = private_text(await blended(server, weights="1,101", size="33x32")).splitlines()
    assert len(lines) == 2 and "at most 100" in lines[0] and "multiple of 8" in lines[1]


async def test_blend_refuses_bad_options_before_it_asks_for_pictures(server):
    refused = await blended(server, image1=None, image2=None, size="big")
    assert "width x height" in private_text(refused) and not refused.response.components


async def test_blend_hides_what_is_made_of_a_hidden_picture(server):
    message = await finished(server, await blended(server, image2=("SPOILER_blue.png", BLUE[1])))
    assert pictures_of(message)[0].spoiler


@pytest.mark.parametrize(("typed", "weights"), [("", (1, 1)), ("2, 1", (2, 1)), ("0.5:1.5", (0.5, 1.5)), ("2 1", (2, 1))])
def test_parse_weights_reads_numbers(typed, weights):
    assert parse_weights(typed, 2) == weights


def test_parse_weights_names_an_example():
    with pytest.raises(InvalidRequestError, match=r"3 numbers .* such as 3,2,1"):
        parse_weights("1", 3)
