"""Pack a member's data into zip files, none larger than Discord accepts."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from cogs.core.storage.images import ImageMissingError, ImageStore, suffix_of

ENTRY_BYTES: Final = 100  # of a zip entry's header; each entry has two, and its name in both
MAX_ZIP_PARTS: Final = 10


class Export:
    """Packs a member's ``documents`` and pictures into zip files.

    It packs the pictures of ``names`` until `MAX_ZIP_PARTS` files of ``limit`` bytes are full. Iterate over it for the files.
    Afterwards `left_out` counts the pictures that did not fit, and `missing` those that the store has deleted.
    """

    def __init__(self, documents: Mapping[str, bytes], names: Sequence[str], image_store: ImageStore, limit: int) -> None:
        self._documents = documents
        self._names = names
        self._image_store = image_store
        self._limit = limit
        self.left_out = 0
        self.missing = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield one zip file after another."""
        part = _Part()
        parts = 1
        for name, data in self._documents.items():
            await asyncio.to_thread(part.add, name, data, zipfile.ZIP_DEFLATED)
        for packed, name in enumerate(self._names):
            try:
                data = await self._image_store.read(name)
            except ImageMissingError:
                self.missing += 1
                continue
            if not part.has_room_for(data, self._limit):
                if parts == MAX_ZIP_PARTS:
                    self.left_out += len(self._names) - packed
                    break
                yield part.close()
                part = _Part()
                parts += 1
            if part.has_room_for(data, self._limit):
                await asyncio.to_thread(part.add, f"pictures/{name}{suffix_of(data)}", data, zipfile.ZIP_STORED)
            else:
                self.left_out += 1
        yield part.close()


class _Part:
    """One zip file that is being written."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._zip = zipfile.ZipFile(self._buffer, "w")

    def has_room_for(self, picture: bytes, limit: int) -> bool:
        entries = len(self._zip.filelist) + 2
        return self._buffer.tell() + len(picture) + entries * 2 * ENTRY_BYTES <= limit

    def add(self, name: str, data: bytes, method: int) -> None:
        self._zip.writestr(name, data, method)

    def close(self) -> bytes:
        self._zip.close()
        return self._buffer.getvalue()
