"""Pictures in any storage that fsspec reaches, such as S3, in the same layout as in a `ImageStore`'s folder."""

import contextlib
import logging
import secrets
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from cogs.core.storage.images import ImageStore, StoredFile
from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)
MODIFIED: Final = ("LastModified", "last_modified", "updated", "mtime", "created")  # what drivers call it
LOCAL: Final = "file://"
LISTING_SECONDS: Final = 6 * 3600.0  # the listing of a large store takes long and costs money


class FsspecImageStore(ImageStore):
    """What a `ImageStore` does, in the folder at ``url``. Its driver has to be installed, and finds its keys by itself."""

    def __init__(self, url: str, max_bytes: int = 10 * 2**30, max_days: float = 30) -> None:
        try:
            self.files, root = url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:  # which name the package that is missing
            raise DarkroomError(f"PICTURES_URL cannot be used: {error}") from error
        super().__init__(Path(root), max_bytes, max_days)
        # Elsewhere to move is to copy. Those that cannot move take a file as a whole, or it is noticed when it is read; they
        # have no folders, and to ask for one makes a store whose name was mistyped.
        self.moves = type(self.files).mv is not AbstractFileSystem.mv
        self._listed = -LISTING_SECONDS

    def verify_writable(self) -> None:
        """Write a file and delete it again; raises `DarkroomError`."""
        path = self.folder / f"{secrets.token_hex(8)}.tmp"
        try:
            self._write(path, b"darkroom")
            self._remove(path)
        except OSError as error:
            raise DarkroomError(f"Pictures cannot be written to PICTURES_URL: {error}") from error

    def _write(self, path: Path, data: bytes) -> None:
        """Write, also what is there already, so that it counts as new; raises OSError."""
        final = path.as_posix()
        temporary = f"{final}.{secrets.token_hex(8)}.tmp" if self.moves else final
        try:
            if self.moves:
                self.files.makedirs(path.parent.as_posix(), exist_ok=True)
            self.files.pipe_file(temporary, data)
            if self.moves:
                self.files.mv(temporary, final)
        except Exception as error:  # drivers raise what they like
            with contextlib.suppress(Exception):
                self.files.rm_file(temporary)
            raise as_os_error(error) from error

    def _load(self, name: str) -> bytes:
        for path in self._candidates(name):
            try:
                data: bytes = self.files.cat_file(path.as_posix())
                return data
            except FileNotFoundError:
                continue
            except Exception as error:
                raise as_os_error(error) from error
        raise FileNotFoundError(name)

    def _remove(self, path: Path) -> None:
        try:
            self.files.rm_file(path.as_posix())
        except FileNotFoundError:
            pass
        except Exception as error:
            raise as_os_error(error) from error

    def _delete_one(self, name: str) -> None:
        for path in self._candidates(name):
            self._remove(path)

    def _prune(self, max_bytes: int, keep: set[str]) -> None:
        if time.monotonic() < self._listed + LISTING_SECONDS:
            return
        self._listed = time.monotonic()
        try:
            super()._prune(max_bytes, keep)
        except OSError as error:
            log.error("old pictures could not be deleted: %s", error)

    def _list(self) -> Iterable[StoredFile]:
        try:
            found: dict[str, dict[str, Any]] = self.files.find(self.folder.as_posix(), detail=True)
        except Exception as error:
            raise as_os_error(error) from error
        return [StoredFile(_modified(info), info["size"] or 0, Path(path)) for path, info in found.items()]


def open_image_store(url: str, max_bytes: int, max_days: float) -> ImageStore:
    """Give what keeps pictures at ``url``, which may be a folder of this machine; raises `DarkroomError`."""
    if "://" not in url or url.startswith(LOCAL):
        return ImageStore(Path(url.removeprefix(LOCAL)), max_bytes, max_days)
    store = FsspecImageStore(url, max_bytes, max_days)
    store.verify_writable()
    return store


def as_os_error(error: Exception) -> OSError:
    """Give what the operating system would have said, as not all drivers do."""
    return error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}")


def _modified(info: dict[str, Any]) -> float:
    """Give when a file was written, in seconds since 1970; now where the driver does not tell."""
    told = next((info[name] for name in MODIFIED if info.get(name) is not None), time.time())
    if isinstance(told, str):
        told = datetime.fromisoformat(told)
    return told.timestamp() if isinstance(told, datetime) else float(told)
