"""Images in any storage that fsspec supports, such as S3.

They have the layout of an `ImageStore` folder.
"""

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
MODIFIED_KEYS: Final = ("LastModified", "last_modified", "updated", "mtime", "created")  # drivers differ
LOCAL_PREFIX: Final = "file://"
LISTING_INTERVAL_SECONDS: Final = 6 * 3600.0  # to list a large bucket takes long and costs money


class FsspecImageStore(ImageStore):
    """An `ImageStore` at ``url``.

    The driver has to be installed and finds its credentials by itself.
    """

    def __init__(self, url: str, max_bytes: int = 10 * 2**30, max_days: float = 30) -> None:
        try:
            self.files, root = url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:  # it names the missing package
            raise DarkroomError(f"PICTURES_URL cannot be used: {error}") from error
        super().__init__(Path(root), max_bytes, max_days)
        # Object stores have no move and no folders. They store a file whole, and creating a folder could create a bucket by
        # mistake if its name is mistyped.
        self.moves = type(self.files).mv is not AbstractFileSystem.mv
        self._listed = -LISTING_INTERVAL_SECONDS

    def verify_writable(self) -> None:
        """Write a file and delete it; raises `DarkroomError`."""
        path = self.folder / f"{secrets.token_hex(8)}.tmp"
        try:
            self._write(path, b"darkroom")
            self._remove(path)
        except OSError as error:
            raise DarkroomError(f"Pictures cannot be written to PICTURES_URL: {error}") from error

    def _write(self, path: Path, data: bytes) -> None:
        """Write ``data`` even if the image exists, so that it counts as new.

        Raises OSError.
        """
        final = path.as_posix()
        temporary = f"{final}.{secrets.token_hex(8)}.tmp" if self.moves else final
        try:
            if self.moves:
                self.files.makedirs(path.parent.as_posix(), exist_ok=True)
            self.files.pipe_file(temporary, data)
            if self.moves:
                self.files.mv(temporary, final)
        except Exception as error:  # drivers raise errors of any type
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
        if time.monotonic() < self._listed + LISTING_INTERVAL_SECONDS:
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
    """Return the image store at ``url``, which may be a local folder.

    Raises `DarkroomError`.
    """
    if "://" not in url or url.startswith(LOCAL_PREFIX):
        return ImageStore(Path(url.removeprefix(LOCAL_PREFIX)), max_bytes, max_days)
    store = FsspecImageStore(url, max_bytes, max_days)
    store.verify_writable()
    return store


def as_os_error(error: Exception) -> OSError:
    """Return ``error`` as an OSError; drivers raise other types as well."""
    return error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}")


def _modified(info: dict[str, Any]) -> float:
    """Return when a file was written, in seconds since 1970.

    Returns the present time if the driver does not know.
    """
    modified = next((info[name] for name in MODIFIED_KEYS if info.get(name) is not None), time.time())
    if isinstance(modified, str):
        modified = datetime.fromisoformat(modified)
    return modified.timestamp() if isinstance(modified, datetime) else float(modified)
