import pytest

from cogs.core.storage import gallery
from cogs.core.storage.creations import CreationStore, State, request_to_json
from cogs.core.storage.database import Database, DatabaseUnavailableError
from cogs.core.storage.gallery import MAX_ANCESTORS, MAX_FAMILY, PAGE_SIZE, Gallery, PastCreationRow
from diffusion.request import ImageRequest
from tests.support.creations import creation


@pytest.fixture
async def database(database_url):
    async with Database(database_url) as database:
        yield database


async def kept(database, *rows):
    for row in rows:
        await CreationStore(database).add(row)


def delivered(id, parent=None, prompt="a fox", **values):
    request = request_to_json(ImageRequest(prompt, seed=id))
    return creation(id, parent_id=parent, state=State.DELIVERED, request=request, **values)


def ids(creations):
    return [creation.id for creation in creations]


async def test_page_turns_both_ways_newest_first(database):
    await kept(database, *map(delivered, range(1, 2 * PAGE_SIZE + 3)), delivered(50, owner=8))
    pictures = Gallery(database)
    first = await pictures.page(7)
    assert ids(first.creations) == list(range(2 * PAGE_SIZE + 2, PAGE_SIZE + 2, -1)) and (first.newer, first.older) == (
        False,
        True,
    )
    second = await pictures.page(7, before=first.creations[-1].id)
    assert ids(second.creations) == list(range(PAGE_SIZE + 2, 2, -1)) and (second.newer, second.older) == (True, True)
    third = await pictures.page(7, before=second.creations[-1].id)
    assert ids(third.creations) == [2, 1] and (third.newer, third.older) == (True, False)
    back = await pictures.page(7, after=third.creations[0].id)
    assert ids(back.creations) == ids(second.creations) and (back.newer, back.older) == (True, True)
    start = await pictures.page(7, after=back.creations[0].id)
    assert ids(start.creations) == ids(first.creations) and (start.newer, start.older) == (False, True)


async def test_page_lists_only_delivered_creations(database):
    await kept(database, delivered(1), creation(2), creation(3, state=State.FAILED))
    assert ids((await Gallery(database).page(7)).creations) == [1]


async def test_page_searches_prompts_literally(database):
    await kept(database, delivered(1, prompt="100% Fox"), delivered(2, prompt="1000 foxes"), delivered(3, prompt='a "dog"'))
    pictures = Gallery(database)
    assert ids((await pictures.page(7, "0% fox")).creations) == [1]
    assert ids((await pictures.page(7, "FOX")).creations) == [2, 1]
    assert ids((await pictures.page(7, '"dog')).creations) == [3]
    assert ids((await pictures.page(7, "_")).creations) == []


async def test_latest_searches_branches_and_morphs(database):
    request = request_to_json(ImageRequest("fox", steps=9, branches=((3, "bär"), (4, "owl"))))
    morph = request_to_json(ImageRequest("fox", morph_to="wolf", count=4))
    await kept(database, *(creation(id, state=State.DELIVERED, request=json) for id, json in ((1, request), (2, morph))))
    pictures = Gallery(database)
    assert [ids(await pictures.latest(7, word, 9)) for word in ("bär", "OWL", "wolf", "fox", "3")] == [
        [1],
        [1],
        [2],
        [2, 1],
        [],
    ]


async def test_family_is_found_from_any_creation_in_it(database):
    await kept(database, delivered(1), delivered(2, 1), delivered(3, 1), delivered(4, 2), delivered(5), delivered(6, 5))
    pictures = Gallery(database)
    for one in (1, 2, 4):
        assert sorted(ids(await pictures.family(await CreationStore(database).get(one)))) == [1, 2, 3, 4]


async def test_family_accepts_missing_parents_and_circles(database):
    await kept(database, delivered(2, 1), delivered(3, 4), delivered(4, 3), delivered(5, 5))
    pictures = Gallery(database)
    assert ids(await pictures.family(await CreationStore(database).get(2))) == [2]
    assert sorted(ids(await pictures.family(await CreationStore(database).get(3)))) == [3, 4]
    assert ids(await pictures.family(await CreationStore(database).get(5))) == [5]


async def test_family_is_bounded(database):
    await kept(
        database, *(delivered(number, number - 1) for number in range(1, 40)), *(delivered(n, 39) for n in range(40, 120))
    )
    family = await Gallery(database).family(await CreationStore(database).get(39))
    assert len(family) == MAX_FAMILY and min(ids(family)) == 39 - MAX_ANCESTORS


async def test_forget_messages_clears_delivered_creations_only(database):
    await kept(database, delivered(1, message_id=10), delivered(2, message_id=11), creation(3, message_id=10))
    await CreationStore(database).forget_messages([10])
    assert [(await CreationStore(database).get(id)).message_id for id in (1, 2, 3)] == [None, 11, 10]


async def test_page_and_forget_messages_raise_when_the_table_is_missing(database):
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE creations")
    with pytest.raises(DatabaseUnavailableError, match="try again later"):
        await Gallery(database).page(7)
    with pytest.raises(DatabaseUnavailableError):
        await CreationStore(database).forget_messages([1])


async def test_search_goes_on_until_the_page_is_full(database, monkeypatch):
    monkeypatch.setattr(gallery, "ROWS_PER_SEARCH", 3)
    await kept(database, *(delivered(id, prompt="an owl" if id % 5 == 0 else "a fox") for id in range(1, 41)))
    page = await Gallery(database).page(7, "owl")
    assert ids(page.creations) == [40, 35, 30, 25, 20] and (page.newer, page.older) == (False, True)
    older = await Gallery(database).page(7, "owl", before=20)
    assert ids(older.creations) == [15, 10, 5] and (older.newer, older.older) == (True, False)
    assert ids((await Gallery(database).page(7, "owl", after=15)).creations) == [40, 35, 30, 25, 20]
    assert ids(await Gallery(database).latest(7, "owl", 2)) == [40, 35]


async def test_family_keeps_its_shape_where_creations_are_no_longer_kept(database):
    await kept(database, delivered(1), delivered(3, 2), delivered(4, 3), delivered(6, 5))
    async with database.transaction("") as session:
        session.add_all([PastCreationRow(id=2, parent_id=1), PastCreationRow(id=5, parent_id=2)])
    for one in (1, 4, 6):
        family = await Gallery(database).family(await CreationStore(database).get(one))
        assert sorted((member.id, member.parent_id) for member in family) == [(1, None), (2, 1), (3, 2), (4, 3), (5, 2), (6, 5)]
