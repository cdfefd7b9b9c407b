"""All that is kept about a member, in every database."""

import json

import pytest

from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage.creations import CreationStore, State
from cogs.core.storage.database import Database
from cogs.core.storage.images import ImageStore
from cogs.core.storage.personal_data import PersonalData
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.reviews import Decision, ReviewStore
from tests.support.creations import TOKEN, creation

ALICE, BOB = 2**62, 8


@pytest.fixture
async def kept(database_url, tmp_path):
    """Two creations of Alice, one of them held, and one of Bob's with a picture that she has, too."""
    async with Database(database_url) as database:
        creation_store, preference_store, image_store = (
            CreationStore(database),
            PreferenceStore(database),
            ImageStore(tmp_path / "pictures"),
        )
        shared, own, source, held = [await image_store.save(name.encode()) for name in ("shared", "own", "source", "held")]
        rows = {
            1: {"owner": ALICE, "pictures": [shared, own], "state": State.DELIVERED, "counted": 2},
            2: {"owner": ALICE, "pictures": [held], "source": source, "state": State.IN_REVIEW},
            3: {"owner": BOB, "source": shared, "state": State.DELIVERED},
        }
        for number, values in rows.items():
            await creation_store.add(creation(number, **values))
        await preference_store.set(Scope.MEMBER, ALICE, Preferences(steps=7))
        reviews = ReviewStore(database)
        await reviews.create(2, 5)
        await reviews.create(3, 5)
        await reviews.decide(3, Decision.SPOILER, ALICE)
        yield (
            PersonalData(database, preference_store, image_store),
            image_store,
            reviews,
            {"shared": shared, "own": own},
        )


async def exported(personal, member):
    """Return all documents by name, and the names of the pictures."""
    documents = [document async for document in personal.export(member)]
    return {one.name: one.data for one in documents}, [name for one in documents for name in one.pictures]


def files(image_store):
    return [path for path in image_store.folder.rglob("*") if path.is_file()]


async def test_export_has_all_documents_and_shown_pictures_only(kept):
    personal, _, _, names = kept
    documents, pictures = await exported(personal, ALICE)
    read = {name: json.loads(document) for name, document in documents.items()}
    assert [request["id"] for request in read["requests.json"]] == [2, 1]
    assert read["settings.json"] == {"steps": 7} and read["usage.json"][0]["pictures"] == 2
    assert read["decisions.json"][0]["decision"] == "spoiler"
    assert sorted(pictures) == sorted(names.values())
    assert TOKEN not in str(documents)


async def test_delete_keeps_what_others_need_without_the_member(kept):
    personal, image_store, reviews, names = kept
    forgotten = await personal.delete(ALICE, 10)
    assert (forgotten.creations, len(forgotten.pictures), forgotten.kept) == (2, 4, 1)
    assert {path.stem for path in files(image_store)} == {names["shared"]}
    documents, pictures = await exported(personal, ALICE)
    assert json.loads(documents["requests.json"]) == json.loads(documents["decisions.json"]) == pictures == []
    assert json.loads(documents["settings.json"]) == {}
    assert json.loads(documents["usage.json"])[0]["pictures"] == 2  # until tomorrow, so that nobody gets a second day by it
    review = await reviews.get(3)
    assert (review.decision, review.moderator) == ("spoiler", None)
    assert len(json.loads((await exported(personal, BOB))[0]["requests.json"])) == 1


async def test_delete_of_an_unknown_member_deletes_nothing(kept):
    personal, image_store, _, _ = kept
    forgotten = await personal.delete(99, 10)
    assert (forgotten.creations, forgotten.pictures) == (0, set())
    assert len(files(image_store)) == 4
