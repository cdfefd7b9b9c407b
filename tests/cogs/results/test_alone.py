from cogs.core.storage.images import ImageMissingError
from diffusion.images.io import read_image, to_png
from tests.support.actions import more_of, use
from tests.support.jobs import row_of
from tests.support.messages import pictures_of, source_of, text_of
from tests.support.results import finished, made


def answer_of(result):
    (answer,) = [answer for answer in (result.response, *result.followups) if answer is not None]
    return answer


async def test_one_of_several_pictures_is_posted_alone_with_its_buttons(server):
    message = await made(server, prompt="red apple", count=3, seed=7)
    alone = answer_of(await use(server.bob, message, "alone", picture=2))
    (picture,) = pictures_of(alone)
    assert await picture.read() == await pictures_of(message)[2].read() and not alone.ephemeral
    assert "Picture 3 of 3." in text_of(alone) and "alone" in more_of(message) and "alone" not in more_of(alone)
    for action in ("strong", "pan_left"):  # a button, and one of the list
        more = await finished(server, await use(server.bob, alone, action, picture=2), 3)
        assert (await row_of(server, more)).parent_id == (await row_of(server, message)).id
    strong = await finished(server, await use(server.bob, alone, "strong", picture=2), 3)
    assert await source_of(strong).read() == to_png(read_image(await picture.read()))


async def test_a_private_picture_stays_private(server):
    message = await made(server, prompt="red apple", count=2, private=True)
    alone = answer_of(await use(server.alice, message, "alone", picture=1))
    assert alone.ephemeral and await pictures_of(alone)[0].read() == await pictures_of(message)[1].read()


async def test_a_file_that_the_store_has_deleted_comes_from_the_message(server, monkeypatch):
    message = await made(server, prompt="red apple", count=2)

    async def missing(name):
        raise ImageMissingError

    monkeypatch.setattr(server.service.image_store, "read", missing)
    alone = answer_of(await use(server.alice, message, "alone", picture=1))
    assert await pictures_of(alone)[0].read() == await pictures_of(message)[1].read()


async def test_a_single_picture_is_not_offered_alone(server):
    row = await row_of(server, await made(server))
    (*_, others) = server.service.result_actions.rows(row, 1)
    assert "alone" not in {option.value for select in others.children for option in select.item.options}
