import io
import json
import re

import pytest
from PIL import Image
from simcord.components import walk_components

from cogs import history
from cogs.core.generation.suggestions import MAX_LABEL_LENGTH, creation_label
from cogs.core.messages.thumbnails import thumbnail
from cogs.core.storage.creations import State
from cogs.core.storage.gallery import PAGE_SIZE
from tests.support.creations import creation
from tests.support.messages import pictures_of, png, private_message, text_of


@pytest.fixture
def kept(server):
    """Write creations of alice down as if they had been delivered."""

    async def keep(*numbers, **values):
        name = await server.service.image_store.save(png())
        for number in numbers:
            row = creation(number, **{"owner": server.alice.id, "state": State.DELIVERED, "pictures": [name]} | values)
            row.request = row.request | {"prompt": f"picture {number}", "seed": number} | values.get("request", {})
            await server.service.creation_store.add(row)

    return keep


async def listed(server, member=None, **options):
    result = await (member or server.alice).slash(server.channel, "history", **options)
    return private_message(result)


def numbers(message):
    """Which creations a page shows."""
    return list(map(int, re.findall(r"\*\*picture ([0-9]+)", text_of(message))))


def short_ids(message):
    """The ids on a page, as members read them."""
    return [line.split("`")[1] for line in text_of(message).splitlines() if line.startswith("-# id")]


def labels(message):
    return [each["label"] for each in walk_components(message.components) if each.get("label") and each["type"] == 2]


async def test_history_lists_own_pictures_newest_first(server, kept):
    await kept(1, 2, 3)
    await kept(9, owner=server.bob.id)
    message = await listed(server)
    assert numbers(message) == [3, 2, 1] and "**picture 3**" in text_of(message)
    thumbnails = [each for each in walk_components(message.components) if each["type"] == 11]
    assert len(thumbnails) == 3 and all(each["description"].startswith("picture") for each in thumbnails)
    assert labels(message) == []  # there is but one page


async def test_history_shows_the_prompts_of_branches_and_morphs(server, kept):
    await kept(1, request={"branches": [[3, "bear"], [4, "owl"]]})
    await kept(2, request={"morph_to": "wolf", "count": 8})
    message = await listed(server)
    assert "**picture 1 → bear → owl**" in text_of(message) and "**picture 2 → wolf**" in text_of(message)
    assert "8 frames" in text_of(message)
    alts = [each["description"] for each in walk_components(message.components) if each["type"] == 11]
    assert alts == ["picture 2 → wolf", "picture 1 → bear → owl"]


async def test_history_pages_turn_both_ways_after_a_restart(server, kept):
    await kept(*range(1, 2 * PAGE_SIZE + 2))
    message = await listed(server)
    assert labels(message) == ["Older"]
    first = numbers(message)
    await server.restart()
    second = (await server.alice.click(message, label="Older")).response
    assert second.id == message.id and labels(second) == ["Newer", "Older"]
    last = (await server.alice.click(second, label="Older")).response
    assert numbers(last) == [1] and labels(last) == ["Newer"]
    await server.alice.click(last, label="Newer")
    start = (await server.alice.click(last, label="Newer")).response
    assert numbers(start) == first


async def test_history_search_applies_to_every_page(server, kept):
    await kept(*range(1, PAGE_SIZE + 3), request={"prompt": "a 100% fox: {really}"})
    await kept(50, 51)
    message = await listed(server, search="100% FOX: {")
    assert len(short_ids(message)) == PAGE_SIZE
    older = (await server.alice.click(message, label="Older")).response
    assert len(short_ids(older)) == 2


async def test_history_search_of_any_length_fits_a_button(server, kept):
    await kept(*range(10**18, 10**18 + PAGE_SIZE + 1), request={"prompt": "語" * 80})
    message = await listed(server, search="語" * 50)
    assert labels(message) == ["Older"]


async def test_history_without_pictures_says_so(server):
    assert "no pictures yet" in (await listed(server)).content
    assert "no pictures with “\\*fox” in their prompt" in (await listed(server, search="*fox")).content


async def test_history_marks_deleted_files(server, kept):
    await kept(1, pictures=["f" * 64])
    message = await listed(server)
    assert history.PICTURES_DELETED in text_of(message)


async def test_history_returns_to_the_first_page_after_deletions(server, kept):
    await kept(*range(1, PAGE_SIZE + 2))
    message = await listed(server)
    async with server.service.database.engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM creations WHERE id = 1")
    older = (await server.alice.click(message, label="Older")).response
    assert numbers(older) == list(range(PAGE_SIZE + 1, 1, -1))


async def test_history_select_shows_a_picture_privately(server):
    made = await server.alice.slash(server.channel, "imagine", prompt="red apple", steps=2)
    await server.until_finished(made.response)
    await server.until_idle()
    message = await listed(server)
    shown = private_message(await server.alice.select(message, short_ids(message)))
    assert await pictures_of(shown)[0].read() == await pictures_of(made.response)[0].read()


async def test_history_reports_database_errors(server):
    async with server.service.database.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE creations RENAME TO lost")
    assert "try again later" in (await listed(server)).content
    async with server.service.database.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE lost RENAME TO creations")


def test_thumbnail_is_small_and_keeps_proportions():
    data = thumbnail(png((1000, 500)))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (192, 96) and len(data) < 20_000


@pytest.mark.parametrize("prompt", ["", "x" * 1000, "\u200b", "fox"])
def test_creation_label_fits_any_prompt(prompt):
    row = creation(1, request={"prompt": prompt})
    row.created = row.expires
    assert 1 <= len(creation_label(row)) <= MAX_LABEL_LENGTH
    assert json.dumps(creation_label(row))
