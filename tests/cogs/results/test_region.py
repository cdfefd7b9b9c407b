import numpy as np
import pytest

from cogs.core.request.preferences import Preferences, Scope
from cogs.results.region import parts_mask
from diffusion.images.io import read_image
from tests.support.actions import use
from tests.support.jobs import row_of
from tests.support.messages import files_of, pictures_of, png, private_text, text_of
from tests.support.results import finished, made


async def picture_of(message, index=0):
    return np.asarray(read_image(await pictures_of(message)[index].read()))


async def asked(server, message, member=None, **values):
    """Fill in the form; return the question that shows the part."""
    member = member or server.alice
    shown = await use(member, message, "vary_region")
    return await member.submit_modal(shown, {"prompt": "red apple"} | values)


async def test_a_part_is_shown_with_a_line_around_it_and_then_drawn(server):
    message = await made(server, prompt="red apple", size="48x32")
    question = await asked(server, message, parts=["right_column"], prompt="a green pear")
    (preview,) = files_of(question.response)
    shown = np.asarray(read_image(await preview.read()))
    assert question.response.ephemeral and preview.name == "region.png" and preview.description
    assert (shown[:, 32] == 255).all() and (shown[:, 31] == 0).all()  # white inside of the part, black outside
    result = await finished(server, await server.alice.click(question.response, label="Draw"))
    before, after = await picture_of(message), await picture_of(result)
    assert (before[:, :32] == after[:, :32]).all() and (before[:, 32:] != after[:, 32:]).any()
    assert "a green pear" in text_of(result)


async def test_an_uploaded_mask_marks_the_part(server):
    message = await made(server, prompt="red apple")
    question = await asked(server, message, mask=("mask.png", png((64, 64), "white")))
    await server.restart()
    told = await server.alice.click(question.response, label="Draw")
    assert "answered already, or the bot was restarted" in private_text(told)
    question = await asked(server, message, mask=("mask.png", png((64, 64), "white")))
    result = await finished(server, await server.alice.click(question.response, label="Draw"))
    request = await server.service.runner.request_of(await row_of(server, result))
    assert request.mask.getextrema() == (255, 255)


async def test_nothing_is_drawn_unless_it_is_confirmed(server):
    message = await made(server, prompt="red apple")
    question = await asked(server, message, parts=["top_left", "middle_row"])
    await server.alice.click(question.response, label="Cancel")
    assert question.response.content == "Not started." and not files_of(question.response)


def test_several_parts_make_one_mask():
    mask = np.asarray(parts_mask((9, 6), ["top_left", "bottom_row"]))
    assert (mask[:2, :3] == 255).all() and (mask[:4, 3:] == 0).all() and (mask[4:] == 255).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Nothing marks the part"),
        ({"parts": ["middle_middle"], "mask": ("mask.png", png())}, "not both"),
        ({"mask": ("mask.png", png(colour="black"))}, "mask is empty"),
        ({"mask": ("mask.png", b"junk")}, "as a picture"),
        ({"parts": ["middle_middle"], "prompt": "fox --ar 3:2"}, "Leave out `--ar`"),
        ({"parts": ["middle_middle"], "prompt": "語" * 120}, "would be ignored"),
    ],
)
async def test_bad_input_is_refused_before_anything_is_shown(server, values, words):
    assert words in private_text(await asked(server, await made(server), **values))


async def test_varying_a_region_keeps_to_the_authors_wish(server):
    message = await made(server)
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(remix=False))
    assert "does not allow" in private_text(await use(server.bob, message, "vary_region"))
