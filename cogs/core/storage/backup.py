"""Backups: a consistent copy of the database and of the pictures, also while the bot runs.

A backup is a folder with a SQLite file, whichever database the bot has, the pictures that its rows name, and `manifest.json`,
which is written last. A restore checks all of it before it writes anything, and writes the database last, in one step.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from cogs.core.storage.database import first_line
from cogs.core.storage.database_copy import (
    check_empty,
    check_file,
    copy_database,
    is_disk_full,
    known_versions,
    place_database,
    version_of,
)
from cogs.core.storage.images import ImageMissingError, ImageNotStoredError, ImageStore
from cogs.core.storage.usage import FileRow
from diffusion.errors import DarkroomError

MANIFEST: Final = "manifest.json"
DATABASE: Final = "darkroom.sqlite"
PICTURES: Final = "pictures"


@dataclass(frozen=True)
class Manifest:
    """What a backup holds: the version of its tables, the SHA-256 of its database, and the names of its pictures."""

    schema: str
    sha256: str
    pictures: list[str]


@dataclass(frozen=True)
class Copied:
    """How many pictures were copied, and how many were gone or damaged."""

    pictures: int
    missing: int = 0
    damaged: int = 0


async def back_up(url: str, image_store: ImageStore, folder: Path) -> Copied:
    """Copy the database at ``url`` and its pictures into ``folder``; raises `DarkroomError`.

    The folder must be new or empty, and is so again after an error.
    """
    with _filled(folder):
        database = folder / DATABASE
        await copy_database(url, database)  # first, so that no picture is missing that it names
        copied = ImageStore(folder / PICTURES)
        kept, missing, damaged = [], 0, 0
        for name in await asyncio.to_thread(picture_names, database):
            try:
                data = await image_store.read(name)
            except ImageMissingError as error:
                if isinstance(error.__cause__, FileNotFoundError):  # pruned or deleted, perhaps since the database was copied
                    missing += 1
                    continue
                if error.__cause__ is not None:
                    raise DarkroomError("The pictures cannot be read, so there is no backup. Look at the log.") from error
                damaged += 1
                continue
            await copied.save(data)
            kept.append(name)
        version = await asyncio.to_thread(version_of, database)
        manifest = Manifest(version, await asyncio.to_thread(_sha256, database), kept)
        await asyncio.to_thread(_write_durably, folder / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
    return Copied(len(kept), missing, damaged)


async def restore(folder: Path, url: str, image_store: ImageStore) -> Copied:
    """Restore the backup in ``folder`` to an empty database at ``url``, and its pictures; raises `DarkroomError`.

    No bot may use them. An interrupted restore leaves the database empty and can be repeated.
    """
    manifest = await asyncio.to_thread(_read_manifest, folder)
    await check_empty(url)
    backup = ImageStore(folder / PICTURES)
    for name in manifest.pictures:  # all of them, before anything is written
        await _read_intact(backup, name)
    for name in manifest.pictures:
        try:
            await image_store.save(await _read_intact(backup, name))
        except ImageNotStoredError as error:
            reason = "the disk is full" if is_disk_full(error) else first_line(error.__cause__ or error)
            raise DarkroomError(f"The pictures cannot be restored: {reason}. Make room and restore again.") from error
    await place_database(folder / DATABASE, url)
    return Copied(len(manifest.pictures))


@contextlib.contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Create ``folder``, and empty it again if the block fails; raises `DarkroomError`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DarkroomError(f"The folder {folder} is not empty. Name a new or an empty one.")
    except OSError as error:
        raise DarkroomError(f"The folder {folder} cannot be used: {error.strerror}.") from error
    try:
        yield
    except BaseException as error:
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if is_disk_full(error):
            raise DarkroomError(
                f"The disk of {folder} is full, so there is no backup. Make room, or name another disk."
            ) from error
        if isinstance(error, OSError | sqlite3.Error | SQLAlchemyError):
            raise DarkroomError(f"The backup could not be made: {first_line(error)}.") from error
        raise


def _read_manifest(folder: Path) -> Manifest:
    """Return what a backup holds; raises `DarkroomError` unless its database is whole and of a known version."""
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text("utf-8")))
    except FileNotFoundError:
        raise DarkroomError(f"The folder {folder} holds no complete backup.") from None
    except (OSError, ValueError, TypeError) as error:
        raise DarkroomError(f"The backup in {folder} is damaged: its manifest cannot be read. Use another one.") from error
    try:
        is_whole = _sha256(folder / DATABASE) == manifest.sha256
    except OSError:
        is_whole = False
    if not is_whole:
        raise DarkroomError(f"The backup in {folder} is damaged: its database is not the one that was saved. Use another one.")
    check_file(folder / DATABASE, "The database of the backup")
    if manifest.schema not in known_versions():
        raise DarkroomError(f"The backup is of a newer version of Darkroom ({manifest.schema}). Update Darkroom.")
    return manifest


async def _read_intact(backup: ImageStore, name: str) -> bytes:
    try:
        return await backup.read(name)
    except ImageMissingError as error:
        place = backup.folder.parent
        raise DarkroomError(
            f"The backup in {place} is damaged: its picture {name:.12} is gone or changed. Use another one."
        ) from error


def picture_names(path: Path) -> list[str]:
    """Return the names of all pictures in a SQLite file of the bot."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute(f"SELECT DISTINCT name FROM {FileRow.__tablename__} ORDER BY name")]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_durably(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def summary(copied: Copied, done: str) -> str:
    """Return one line for the terminal about what was copied."""
    notes = [f"{copied.missing} gone"] * (copied.missing > 0) + [f"{copied.damaged} damaged"] * (copied.damaged > 0)
    left_out = f" (left out: {', '.join(notes)})" if notes else ""
    return f"{done}: the database and {copied.pictures} pictures{left_out}."
