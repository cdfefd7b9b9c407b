"""All that is kept about a member, in every database."""

import json

import pytest

from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage.creations import Journal, State
from cogs.core.storage.database import Database
from cogs.core.storage.images import Gallery
from cogs.core.storage.personal_data import PersonalData
from cogs.core.storage.preferences import Registry
from cogs.core.storage.reviews import Decision, Reviews
from tests.cogs.core.storage.test_creations import TOKEN, creation

ALICE, BOB = 2**62, 8


@pytest.fixture
async def kept(database_url, tmp_path):
    """Two creations of Alice, one of them held, and one of Bob's with a picture that she has, too."""
    async with Database(database_url) as database:
        journal, registry, gallery = Journal(database), Registry(database), Gallery(tmp_path / "pictures")
        shared, own, source, held = [await gallery.keep(name.encode()) for name in ("shared", "own", "source", "held")]
        rows = {
            1: {"owner": ALICE, "pictures": [shared, own], "state": State.DELIVERED, "counted": 2},
            2: {"owner": ALICE, "pictures": [held], "source": source, "state": State.HELD},
            3: {"owner": BOB, "source": shared, "state": State.DELIVERED},
        }
        for number, values in rows.items():
            await journal.add(creation(number, **values))
        await registry.set(Scope.MEMBER, ALICE, Preferences(steps=7))
        reviews = Reviews(database)
        await reviews.begin(2, 5)
        await reviews.begin(3, 5)
        await reviews.decide(3, Decision.SPOILER, ALICE)
        yield PersonalData(database, journal, registry, gallery), gallery, reviews, {"shared": shared, "own": own}


def files(gallery):
    return [path for path in gallery.folder.rglob("*") if path.is_file()]


async def test_the_documents_hold_everything_and_the_pictures_only_what_was_shown(kept):
    personal, _, _, names = kept
    documents, pictures = await personal.documents(ALICE)
    read = {name: json.loads(document) for name, document in documents.items()}
    assert [request["id"] for request in read["requests.json"]] == [2, 1]
    assert read["settings.json"] == {"steps": 7} and read["usage.json"][0]["pictures"] == 2
    assert read["decisions.json"][0]["decision"] == "spoiler"
    assert sorted(pictures) == sorted(names.values())
    assert TOKEN not in str(documents)


async def test_forgetting_leaves_what_others_need_and_no_trace_of_the_member(kept):
    personal, gallery, reviews, names = kept
    forgotten = await personal.forget(ALICE)
    assert [creation.id for creation in forgotten.creations] == [2, 1]
    assert [review.creation_id for review in forgotten.reviews] == [2]
    assert (forgotten.pictures, forgotten.kept) == (4, 1)
    assert {path.stem for path in files(gallery)} == {names["shared"]}
    documents, pictures = await personal.documents(ALICE)
    assert json.loads(documents["requests.json"]) == json.loads(documents["decisions.json"]) == pictures == []
    assert json.loads(documents["settings.json"]) == {}
    assert json.loads(documents["usage.json"])[0]["pictures"] == 2  # until tomorrow, so that nobody gets a second day by it
    review = await reviews.of(3)
    assert (review.decision, review.moderator) == ("spoiler", None)
    assert len(json.loads((await personal.documents(BOB))[0]["requests.json"])) == 1


async def test_forgetting_nobody_deletes_nothing(kept):
    personal, gallery, _, _ = kept
    forgotten = await personal.forget(99)
    assert (forgotten.creations, forgotten.pictures) == ([], 0)
    assert len(files(gallery)) == 4
