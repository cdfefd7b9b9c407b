"""The content-addressed store of images, named by their SHA-256.

The same image is stored once, and a damaged one is detected. When the store is larger or older than the operator allows, the
oldest images are deleted.
"""

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from cogs.core.storage.clock import ClockGuard
from diffusion.errors import DarkroomError
from diffusion.text import N_

log = logging.getLogger(__name__)
SECONDS_PER_DAY: Final = 86_400
SUFFIXES: Final = {b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif"}  # by the first four bytes of a file
IMAGES_UNREACHABLE: Final = N_("I cannot reach my pictures at the moment. Please try again later.")
DISK_FULL_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT)


class ImageNotStoredError(DarkroomError):
    """An image cannot be written, for example because the disk is full."""


class ImageMissingError(DarkroomError):
    """An image has been deleted or is damaged."""


class StoredFile(NamedTuple):
    """A file with its time of writing, in seconds since 1970, and its size in bytes."""

    modified: float
    size: int
    path: Path


class ImageStore:
    """A folder of images, with limits on its size and age.

    It has at most ``max_bytes`` in all and nothing older than ``max_days``. Processes may share it.
    """

    def __init__(self, folder: Path, max_bytes: int = 10 * 2**30, max_days: float = 30) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.max_days = max_days
        self._clock = ClockGuard()

    async def save(self, data: bytes) -> str:
        """Store ``data`` and return its name; raises `ImageNotStoredError`.

        Afterwards the image survives a crash.
        """
        return await asyncio.to_thread(self._save, data)

    async def read(self, name: str) -> bytes:
        """Return the image of that ``name``; raises `ImageMissingError`."""
        return await asyncio.to_thread(self._read, name)

    async def delete(self, names: Collection[str]) -> None:
        """Delete the images of those names; raises `DarkroomError`."""
        await asyncio.to_thread(self._delete, names)

    async def prune(self, keep: Collection[str] = ()) -> None:
        """Delete images that are too old, then the oldest until the rest fits.

        Images in ``keep`` stay. Nothing is too old while the clock may be wrong.
        """
        await asyncio.to_thread(self._prune, self.max_bytes, set(keep))

    def _save(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        try:
            self._write(self._path(name, suffix_of(data)), data)
        except OSError as error:
            log.error("a picture could not be written: %s", error)
            if error.errno in DISK_FULL_ERRORS:
                raise ImageNotStoredError("My disk is full, so I cannot keep pictures. Please try again later.") from error
            raise ImageNotStoredError("I cannot write pictures to my disk at the moment. Please try again later.") from error
        return name

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(ImageMissingError):
            self._read(path.stem)
            os.utime(path)  # so that it counts as new
            return
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with open(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def _read(self, name: str) -> bytes:
        try:
            data = self._load(name)
        except FileNotFoundError as error:
            raise ImageMissingError("These pictures have been deleted.") from error
        except OSError as error:
            log.error("a picture could not be read: %s", error)
            raise ImageMissingError(IMAGES_UNREACHABLE) from error
        if hashlib.sha256(data).hexdigest() != name:
            raise ImageMissingError("These pictures were damaged on my disk.")
        return data

    def _load(self, name: str) -> bytes:
        return self._find(name).read_bytes()

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def _delete(self, names: Iterable[str]) -> None:
        try:
            for name in names:
                self._delete_one(name)
        except OSError as error:
            log.error("pictures could not be deleted: %s", error)
            raise DarkroomError(IMAGES_UNREACHABLE) from error

    def _delete_one(self, name: str) -> None:
        self._remove(self._find(name))

    def _prune(self, max_bytes: int, keep: set[str]) -> None:
        files = sorted(self._list(), reverse=True)
        is_clock_trusted = self._clock.is_trusted(files[0].modified if files else None)
        now = time.time()
        size = 0
        for modified, bytes_, path in files:
            age = now - modified if is_clock_trusted else 0.0
            is_torn = path.suffix == ".tmp" and age > SECONDS_PER_DAY  # left by a crash
            size += bytes_
            if is_torn or (path.stem not in keep and (size > max_bytes or age > self.max_days * SECONDS_PER_DAY)):
                self._remove(path)
                size -= bytes_

    def _list(self) -> Iterable[StoredFile]:
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                yield StoredFile(path.stat().st_mtime, path.stat().st_size, path)

    def _find(self, name: str) -> Path:
        paths = self._candidates(name)
        return next((path for path in paths if path.exists()), paths[0])

    def _candidates(self, name: str) -> list[Path]:
        return [self._path(name, suffix) for suffix in (*SUFFIXES.values(), "")]

    def _path(self, name: str, suffix: str) -> Path:
        return self.folder / name[:2] / f"{name}{suffix}"


def suffix_of(data: bytes) -> str:
    """Return the file name suffix for this content."""
    return SUFFIXES.get(data[:4], "")


def _sync_folder(folder: Path) -> None:
    """Make a rename durable.

    Systems that cannot open folders do not need this.
    """
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
