"""A member's data packed into zip files, none larger than may be uploaded."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from cogs.core.storage.images import ImageMissingError, ImageStore, suffix_of

ENTRY: Final = 100  # bytes that an entry takes twice, besides its name: before its content and in the list at the end
MOST: Final = 10


class Export:
    """Packs ``documents``, then the pictures of ``names`` as far as `MOST` files of ``limit`` bytes hold them.

    Iterate it for the files; afterwards `left_out` counts the pictures that had no room and `gone` those that are not kept.
    """

    def __init__(self, documents: Mapping[str, bytes], names: Sequence[str], image_store: ImageStore, limit: int) -> None:
        self._documents, self._names, self._image_store, self._limit = documents, names, image_store, limit
        self.left_out = self.gone = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give one zip file after another."""
        part, parts = _Part(), 1
        for name, data in self._documents.items():
            await asyncio.to_thread(part.add, name, data, zipfile.ZIP_DEFLATED)
        for done, name in enumerate(self._names):
            try:
                data = await self._image_store.read(name)
            except ImageMissingError:
                self.gone += 1
                continue
            if not part.takes(data, self._limit):
                if parts == MOST:
                    self.left_out += len(self._names) - done
                    break
                yield part.close()
                part, parts = _Part(), parts + 1
            if part.takes(data, self._limit):
                await asyncio.to_thread(part.add, f"pictures/{name}{suffix_of(data)}", data, zipfile.ZIP_STORED)
            else:
                self.left_out += 1
        yield part.close()


class _Part:
    """One zip file in the making."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._zip = zipfile.ZipFile(self._buffer, "w")

    def takes(self, picture: bytes, limit: int) -> bool:
        """Whether ``picture`` still fits."""
        entries = len(self._zip.filelist) + 2
        return self._buffer.tell() + len(picture) + entries * 2 * ENTRY <= limit

    def add(self, name: str, data: bytes, method: int) -> None:
        self._zip.writestr(name, data, method)

    def close(self) -> bytes:
        self._zip.close()
        return self._buffer.getvalue()
