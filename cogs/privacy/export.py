"""Pack a member's data into zip files, none larger than Discord accepts."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

from cogs.core.storage.images import ImageMissingError, ImageStore, suffix_of
from cogs.core.storage.personal_data import Document

ENTRY_BYTES: Final = 100  # of a zip entry's header; each entry has two, and its name in both
MAX_ZIP_PARTS: Final = 10


class Export:
    """Packs a member's ``documents`` and pictures into zip files.

    It packs the documents, then the pictures that they name, until `MAX_ZIP_PARTS` files of ``limit`` bytes are full. Iterate
    over it for the files. Afterwards `left_out` counts the pictures that did not fit, and `missing` those that the store has
    deleted.
    """

    def __init__(self, documents: AsyncIterable[Document], image_store: ImageStore, limit: int) -> None:
        self._documents = documents
        self._image_store = image_store
        self._limit = limit
        self._part = _Part()
        self._closed_parts = 0
        self.left_out = 0
        self.missing = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield one zip file after another."""
        names: dict[str, None] = {}
        async for document in self._documents:
            names |= dict.fromkeys(document.pictures)
            packed = await asyncio.to_thread(_compress, document.data)
            if full := self._make_room(len(packed)):
                yield full
            await asyncio.to_thread(self._part.add, document.name, document.data, zipfile.ZIP_DEFLATED)
        for position, name in enumerate(names):
            try:
                data = await self._image_store.read(name)
            except ImageMissingError:
                self.missing += 1
                continue
            if full := self._make_room(len(data)):
                yield full
            if not self._part.has_room_for(len(data), self._limit):
                if self._is_last:
                    self.left_out += len(names) - position
                    break
                self.left_out += 1
                continue
            await asyncio.to_thread(self._part.add, f"pictures/{name}{suffix_of(data)}", data, zipfile.ZIP_STORED)
        yield self._part.close()

    @property
    def _is_last(self) -> bool:
        return self._closed_parts + 1 == MAX_ZIP_PARTS

    def _make_room(self, size: int) -> bytes | None:
        """Begin another file if ``size`` bytes do not fit; return the full one."""
        if self._part.has_room_for(size, self._limit) or self._part.is_empty or self._is_last:
            return None
        full = self._part.close()
        self._part = _Part()
        self._closed_parts += 1
        return full


class _Part:
    """One zip file that is being written."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._zip = zipfile.ZipFile(self._buffer, "w")

    @property
    def is_empty(self) -> bool:
        return not self._zip.filelist

    def has_room_for(self, size: int, limit: int) -> bool:
        entries = len(self._zip.filelist) + 2
        return self._buffer.tell() + size + entries * 2 * ENTRY_BYTES <= limit

    def add(self, name: str, data: bytes, method: int) -> None:
        self._zip.writestr(name, data, method)

    def close(self) -> bytes:
        self._zip.close()
        return self._buffer.getvalue()


def _compress(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("document", data)
    return buffer.getvalue()
