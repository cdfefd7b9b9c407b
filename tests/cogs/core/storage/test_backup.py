"""Backups of a running bot's data, and what a second bot gets of them."""

import asyncio
import contextlib
import errno
import json
import os
import shutil
import sqlite3

import pytest

from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage import backup
from cogs.core.storage.backup import DATABASE, MANIFEST, back_up, picture_names, restore
from cogs.core.storage.creations import State
from cogs.core.storage.database import Database
from cogs.core.storage.images import ImageMissingError, ImageStore
from cogs.core.storage.stores import Stores
from diffusion.errors import DarkroomError
from tests.support.creations import creation
from tests.support.databases import new_sqlite
from tests.support.messages import png


@contextlib.asynccontextmanager
async def bot_at(url, pictures):
    async with Database(url) as database:
        yield Stores.of(database, ImageStore(pictures))


async def fill(stores, count=3):
    """Let members have ``count`` pictures, one star and one setting."""
    for number in range(1, count + 1):
        name = await stores.image_store.save(png(colour=(number, 0, 0)))
        row = creation(number, state=State.DELIVERED, pictures=[name], message_id=number, counted=1)
        await stores.creation_store.add(row)
    await stores.star_store.add(5, row)
    await stores.preference_store.set(Scope.MEMBER, 7, Preferences(steps=9))


@pytest.fixture
async def saved(database_url, tmp_path):
    """A backup of a bot that runs on."""
    folder = tmp_path / "backup"
    async with bot_at(database_url, tmp_path / "pictures") as stores:
        await fill(stores)
        copied = await back_up(database_url, stores.image_store, folder)
        assert (copied.pictures, copied.missing, copied.damaged) == (3, 0, 0)
        yield folder


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
async def test_second_bot_has_all_that_the_first_had(saved, request, tmp_path, target):
    if target == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path / 'second' / 'darkroom.sqlite'}"
    else:
        url = request.getfixturevalue("postgresql").create_database()
    (tmp_path / "second").mkdir()
    assert (await restore(saved, url, ImageStore(tmp_path / "second" / "pictures"))).pictures == 3
    async with bot_at(url, tmp_path / "second" / "pictures") as stores:
        await stores.preference_store.open()
        assert stores.preference_store.get(Scope.MEMBER, 7) == Preferences(steps=9)
        rows = (await stores.gallery.page(7)).creations
        assert [row.id for row in rows] == [3, 2, 1] and rows[0].request["prompt"] == "fox"
        assert [await stores.image_store.read(row.pictures[0]) for row in rows] == [png(colour=(n, 0, 0)) for n in (3, 2, 1)]
        assert await stores.creation_store.get_by_short_id(rows[0].short_id) and (await stores.star_store.get(3)).stars == 1
        await fill_more(stores)


async def fill_more(stores):
    await stores.creation_store.add(creation(4))
    assert [row.id for row in await stores.creation_store.unfinished()] == [4]


async def test_backup_while_members_go_on_is_of_one_moment(tmp_path):
    url = new_sqlite(tmp_path / "darkroom.sqlite")
    async with bot_at(url, tmp_path / "pictures") as stores:
        await fill(stores, 20)

        async def go_on():
            for number in range(21, 60):
                await stores.creation_store.add(creation(number, counted=1))

        await asyncio.gather(go_on(), back_up(url, stores.image_store, tmp_path / "backup"))
    with contextlib.closing(sqlite3.connect(tmp_path / "backup" / DATABASE)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM creations").fetchone()
        (counted,) = connection.execute("SELECT sum(pictures) FROM usage").fetchone()
    assert rows == counted >= 20


async def test_picture_deleted_during_a_backup_is_left_out(tmp_path, monkeypatch):
    url = new_sqlite(tmp_path / "darkroom.sqlite")
    async with bot_at(url, tmp_path / "pictures") as stores:
        await fill(stores)
        names = picture_names(tmp_path / "darkroom.sqlite")
        read = stores.image_store.read

        async def read_late(name):
            if name == names[1]:
                await stores.image_store.delete([name])
            return await read(name)

        monkeypatch.setattr(stores.image_store, "read", read_late)
        copied = await back_up(url, stores.image_store, tmp_path / "backup")
    assert (copied.pictures, copied.missing) == (2, 1)
    second = ImageStore(tmp_path / "second" / "pictures")
    (tmp_path / "second").mkdir()
    await restore(tmp_path / "backup", f"sqlite+aiosqlite:///{tmp_path / 'second' / 'darkroom.sqlite'}", second)
    assert await second.read(names[0])
    with pytest.raises(ImageMissingError):
        await second.read(names[1])


async def test_damaged_picture_is_left_out(tmp_path):
    url = new_sqlite(tmp_path / "darkroom.sqlite")
    async with bot_at(url, tmp_path / "pictures") as stores:
        await fill(stores)
        next(stores.image_store.folder.rglob("*.png")).write_bytes(b"broken")
        copied = await back_up(url, stores.image_store, tmp_path / "backup")
    assert (copied.pictures, copied.damaged) == (2, 1)
    assert backup.summary(copied, "Saved") == "Saved: the database and 2 pictures (left out: 1 damaged)."


async def refusal(awaitable):
    with pytest.raises(DarkroomError) as caught:
        await awaitable
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_backup_into_a_folder_with_files_is_refused(tmp_path):
    folder = tmp_path / "backup"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    assert "is not empty" in await refusal(back_up(new_sqlite(tmp_path / "a.sqlite"), ImageStore(tmp_path / "p"), folder))
    assert (folder / "mine.txt").read_text() == "mine"


async def test_backup_of_nothing_names_the_settings(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'none.sqlite'}"
    assert "DATA_DIR or DATABASE_URL" in await refusal(back_up(url, ImageStore(tmp_path / "p"), tmp_path / "backup"))


@pytest.mark.parametrize("full_at", ["database", "picture"])
async def test_backup_on_a_full_disk_leaves_the_folder_empty(tmp_path, monkeypatch, full_at):
    url = new_sqlite(tmp_path / "darkroom.sqlite")

    async def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    def fail_to_replace(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    async with bot_at(url, tmp_path / "pictures") as stores:
        await fill(stores)
        if full_at == "database":
            monkeypatch.setattr(backup, "copy_database", fail)
        else:
            monkeypatch.setattr(os, "replace", fail_to_replace)
        assert "is full, so there is no backup" in await refusal(back_up(url, stores.image_store, tmp_path / "backup"))
    assert list((tmp_path / "backup").iterdir()) == []


def change_manifest(folder, **values):
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | values))


def break_picture(folder):
    next(folder.rglob("*.png")).write_bytes(b"broken")


DAMAGES = {
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "no complete backup"),
    "half a manifest": (lambda folder: (folder / MANIFEST).write_text("{"), "cannot be read"),
    "newer": (lambda folder: change_manifest(folder, schema="9999"), "newer version of Darkroom (9999)"),
    "other database": (lambda folder: (folder / DATABASE).write_bytes(b"x" * 5000), "not the one that was saved"),
    "no database": (lambda folder: (folder / DATABASE).unlink(), "not the one that was saved"),
    "broken picture": (break_picture, "is gone or changed"),
    "no picture": (lambda folder: next(folder.rglob("*.png")).unlink(), "is gone or changed"),
}


async def test_damaged_backup_is_refused_before_anything_is_written(tmp_path):
    url = new_sqlite(tmp_path / "darkroom.sqlite")
    async with bot_at(url, tmp_path / "pictures") as stores:
        await fill(stores)
        await back_up(url, stores.image_store, tmp_path / "backup")
    target = f"sqlite+aiosqlite:///{tmp_path / 'second.sqlite'}"
    for name, (change, words) in DAMAGES.items():
        folder = tmp_path / name
        shutil.copytree(tmp_path / "backup", folder)
        change(folder)
        assert words in await refusal(restore(folder, target, ImageStore(tmp_path / "second"))), name
        assert not (tmp_path / "second.sqlite").exists() and not (tmp_path / "second").exists()


async def test_restore_over_data_is_refused(saved, database_url, tmp_path):
    words = "already" if database_url.startswith("sqlite") else "is not empty"
    assert words in await refusal(restore(saved, database_url, ImageStore(tmp_path / "second")))


async def test_restore_on_a_full_disk_can_be_repeated(tmp_path, monkeypatch):
    url = new_sqlite(tmp_path / "darkroom.sqlite")
    async with bot_at(url, tmp_path / "pictures") as stores:
        await fill(stores)
        await back_up(url, stores.image_store, tmp_path / "backup")
    target = f"sqlite+aiosqlite:///{tmp_path / 'second.sqlite'}"
    second = ImageStore(tmp_path / "second")
    replace = os.replace

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for _ in range(2):  # at the first picture, then at the database
        monkeypatch.setattr(os, "replace", fail)
        assert "Make room and restore again" in await refusal(restore(tmp_path / "backup", target, second))
        assert not (tmp_path / "second.sqlite").exists()
        monkeypatch.setattr(os, "replace", replace)
        for name in picture_names(tmp_path / "backup" / DATABASE):
            await second.save(await ImageStore(tmp_path / "backup" / "pictures").read(name))
    assert (await restore(tmp_path / "backup", target, second)).pictures == 3
