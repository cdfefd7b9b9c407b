"""Deletions are finished, also after a crash at any step, and leave nothing in the files of the database."""

import discord
import pytest
from sqlalchemy import select

from cogs.core.storage import erasure
from cogs.core.storage.creations import Creation, CreationStore, State
from cogs.core.storage.database import Database
from cogs.core.storage.erasure import DeletedFileRow, DeletedMessageRow, Erasure, ForgottenMemberRow
from cogs.core.storage.gallery import Gallery, PastCreationRow
from cogs.core.storage.images import ImageStore
from cogs.core.storage.usage import FileRow
from diffusion.errors import DarkroomError
from tests.support.creations import creation
from tests.support.databases import new_sqlite

SECRET = "a very secret fox"


class CrashError(Exception):
    """The process ends here."""


async def count(database, *tables):
    async with database.reading("") as session:
        return [len((await session.scalars(select(table))).all()) for table in tables]


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(erasure, "ROWS_PER_STEP", 2)
    monkeypatch.setattr(erasure, "FILES_PER_STEP", 2)


async def fill(database, image_store, owner=7, rows=5):
    creation_store = CreationStore(database)
    for id in range(1, rows + 1):
        name = await image_store.save(b"picture %d of %d" % (id, owner))
        row = creation(owner * 100 + id, owner=owner, pictures=[name], message_id=owner * 100 + id, state=State.DELIVERED)
        await creation_store.add(row)


@pytest.mark.parametrize("crash_at", range(1, 14))
async def test_erasure_is_finished_after_a_crash_at_any_step(tmp_path, monkeypatch, small_steps, crash_at):
    image_store = ImageStore(tmp_path / "pictures")
    async with Database(new_sqlite(tmp_path / "darkroom.sqlite")) as database:
        await fill(database, image_store)
        await fill(database, image_store, owner=8, rows=1)
        steps = 0
        begin = database.sessions.begin
        delete_one = image_store._delete_one

        def take_step():
            nonlocal steps
            steps += 1
            if steps == crash_at:
                raise CrashError

        def begin_or_crash():
            take_step()
            return begin()

        def delete_or_crash(name):
            take_step()
            delete_one(name)

        doomed = Erasure(database, image_store)
        await doomed.note_member(7, 999)
        with monkeypatch.context() as crashing:
            crashing.setattr(database.sessions, "begin", begin_or_crash)
            crashing.setattr(image_store, "_delete_one", delete_or_crash)
            try:
                await doomed.erase_member(7, 999)
                await doomed.delete_files()
            except CrashError:
                pass
        await Erasure(database, image_store).resume()
        assert await count(database, Creation, FileRow, ForgottenMemberRow, DeletedFileRow) == [1, 1, 0, 0]
        assert len(await doomed.messages()) == 5  # those of Discord are worked off by the bot
    assert len(list((tmp_path / "pictures").glob("*/*"))) == 1


async def test_erasure_keeps_what_the_member_asked_for_afterwards(database_url, tmp_path):
    async with Database(database_url) as database:
        await fill(database, image_store := ImageStore(tmp_path / "pictures"))
        await Erasure(database, image_store).erase_member(7, 703)
        assert [row.id for row in (await Gallery(database).page(7)).creations] == [705, 704]


async def test_erasure_of_files_is_repeated_when_the_image_store_is_back(tmp_path, monkeypatch):
    image_store = ImageStore(tmp_path / "pictures")
    async with Database(new_sqlite(tmp_path / "darkroom.sqlite")) as database:
        await fill(database, image_store)
        doomed = Erasure(database, image_store)
        await doomed.erase_member(7, 999)
        with monkeypatch.context() as broken:
            broken.setattr(image_store, "_remove", lambda path: (_ for _ in ()).throw(OSError("unreachable")))
            with pytest.raises(DarkroomError):
                await doomed.delete_files()
        await doomed.resume()
        assert not list((tmp_path / "pictures").glob("*/*"))


async def test_erasure_notes_no_more_messages_than_discord_deletes(database_url, tmp_path, monkeypatch):
    monkeypatch.setattr(erasure, "MAX_DELETED_MESSAGES", 3)
    async with Database(database_url) as database:
        await fill(database, image_store := ImageStore(tmp_path / "pictures"))
        erased = await Erasure(database, image_store).erase_member(7, 999)
        assert (erased.messages, erased.older_messages) == (3, 2)
        assert await count(database, DeletedMessageRow) == [3]


async def test_old_requests_leave_their_lineage_as_ids(database_url, tmp_path):
    old = discord.utils.time_snowflake(discord.utils.utcnow()) - 2**40
    new = old + 2**41
    async with Database(database_url) as database:
        creation_store = CreationStore(database)
        for id, parent in ((old, None), (old + 1, old), (old + 2, None), (new, old + 1)):
            await creation_store.add(creation(id, parent_id=parent, state=State.DELIVERED))
        await creation_store.add(creation(old + 3))
        assert await Erasure(database, ImageStore(tmp_path)).erase_finished(new) == 3
        assert [row.id for row in await creation_store.unfinished()] == [old + 3]
        assert await count(database, PastCreationRow) == [2]  # the one without relatives leaves nothing
        family = await Gallery(database).family(await creation_store.get(new))
        assert [(member.id, member.parent_id) for member in family] == [(new, old + 1), (old + 1, old), (old, None)]


async def test_what_is_erased_is_in_no_file_of_the_database(tmp_path):
    path = tmp_path / "darkroom.sqlite"
    async with Database(new_sqlite(path)) as database:
        await CreationStore(database).add(creation(1, request={"prompt": SECRET}, state=State.DELIVERED))
        held = lambda: [file.name for file in tmp_path.iterdir() if SECRET.encode() in file.read_bytes()]  # noqa: E731
        assert held() == ["darkroom.sqlite-wal"]
        doomed = Erasure(database, ImageStore(tmp_path / "pictures"))
        await doomed.erase_member(7, 9)
        await doomed.resume()
        assert held() == []
