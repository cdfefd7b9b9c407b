"""/edit with FLUX.2 klein of toy size."""

import pytest

from cogs.core.request.preferences import Preferences
from cogs.core.storage.preferences import Scope
from diffusion.images.io import read_image
from tests.support import tiny_klein
from tests.support.actions import use
from tests.support.jobs import row_of, settings_of_row
from tests.support.messages import files_of, pictures_of, png, private_text, source_of, text_of
from tests.support.server import open_server

PICTURE = {"image": ("in.png", png((112, 80), "teal")), "prompt": "make it night"}
DRAWN = (304, 208)  # the shape of the picture within the limits of the tests


@pytest.fixture(scope="module")
def klein():
    return tiny_klein.model_of(tiny_klein.build_components())


@pytest.fixture
async def editor(klein):
    async with open_server(klein) as server:
        yield server


async def edited(server, **options):
    """Return the message of a small edit once it is finished."""
    asked = PICTURE | {"steps": 2, "seed": 3, "size": "32x48"} | options
    result = await server.alice.slash(server.channel, "edit", **{name: value for name, value in asked.items() if value})
    await server.until_finished(result.response, options.get("count", 1))
    return result.response


async def test_edit_posts_pictures_in_the_proportions_of_their_source(editor):
    message = await edited(editor, count=2, size=None)
    for file in pictures_of(message):
        assert read_image(await file.read()).size == DRAWN
    source = read_image(await source_of(message).read())
    assert (source.size, source.getpixel((5, 5))) == ((112, 80), (0, 128, 128))
    assert "2 steps · edited by words" in await settings_of_row(editor, message)
    assert "edited by words" in text_of((await use(editor.alice, message, "info")).response)


async def test_edit_takes_a_size_and_hides_what_is_made_of_hidden_pictures(editor):
    message = await edited(editor, image=("SPOILER_in.png", PICTURE["image"][1]))
    (file,) = pictures_of(message)
    assert read_image(await file.read()).size == (32, 48)
    assert all(file.spoiler for file in files_of(message))


async def test_edit_takes_the_id_of_a_picture(editor):
    row = await row_of(editor, await edited(editor))
    again = await row_of(editor, await edited(editor, image=None, link=row.short_id))
    assert again.parent_id == row.id
    refused = await editor.alice.slash(editor.channel, "edit", prompt="night", size="33x32")
    lines = private_text(refused).splitlines()
    assert len(lines) == 2 and "no picture" in lines[0] and "multiple of" in lines[1]


async def test_edit_follows_no_preferred_style_but_a_flag(editor):
    await editor.service.preference_store.set(Scope.MEMBER, editor.alice.id, Preferences(style="pixel art"))
    assert "**make it night**" in text_of(await edited(editor))
    assert "**make it night, pixel art**" in text_of(await edited(editor, prompt="make it night --style pixel art"))


async def test_edit_is_drawn_after_a_restart_as_without(editor):
    before = await edited(editor)
    editor.engine.pause()
    waiting = await editor.alice.slash(editor.channel, "edit", **PICTURE, steps=2, seed=3, size="32x48")
    await editor.restart()
    editor.engine.resume()
    await editor.until_finished(waiting.response)
    first, second = [await pictures_of(message)[0].read() for message in (before, waiting.response)]
    assert read_image(first).tobytes() == read_image(second).tobytes()


async def test_reroll_edits_the_same_picture_again(editor):
    again = await editor.alice.click(await edited(editor), label="Reroll")
    await editor.until_finished(again.response)
    assert "edited by words" in await settings_of_row(editor, again.response)
    assert read_image(await source_of(again.response).read()).size == (112, 80)


async def test_more_like_this_starts_from_the_edited_picture(editor):
    similar = await editor.alice.click(await edited(editor), label="Vary (subtle)")
    await editor.until_finished(similar.response)
    assert "edited by words" not in await settings_of_row(editor, similar.response)


async def test_pictures_of_members_who_forbid_it_are_not_edited(editor):
    message = await edited(editor)
    await editor.service.preference_store.set(Scope.MEMBER, editor.alice.id, Preferences(remix=False))
    taken = {"image": ("mine.png", await pictures_of(message)[0].read()), "prompt": "make it red"}
    result = await editor.bob.slash(editor.channel, "edit", **taken)
    answer = result.response if not result.followups else result.followups[-1]
    await editor.until(lambda: "does not allow" in text_of(answer))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": ("in.png", b"junk")}, "as a picture"),
        ({"prompt": "--steps 3"}, "Say what to change"),
        ({"size": "big"}, "size"),
    ],
)
async def test_edit_rejects_bad_input_privately(editor, options, words):
    assert words in private_text(await editor.alice.slash(editor.channel, "edit", **PICTURE | options))


async def test_model_that_cannot_edit_says_which_can(server):
    answer = private_text(await server.alice.slash(server.channel, "edit", **PICTURE))
    assert answer == "This model cannot edit pictures by words. Use a model that edits, such as FLUX.2 klein."
