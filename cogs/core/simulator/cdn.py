"""Downloads from the simulated Discord; importing this module lets clients stream them as from the real one."""

import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from simcord.http.client import FakeHTTPClient


class CdnSession:
    """What discord.py's client uses of an HTTP session, for files that simcord keeps."""

    def __init__(self, http: FakeHTTPClient) -> None:
        self._http = http

    @contextlib.asynccontextmanager
    async def get(self, url: str, **options: Any) -> AsyncIterator[SimpleNamespace]:
        """Answer with the file at ``url``; raises discord.py's error if there is none."""
        data = await self._http.get_from_cdn(url)

        async def iter_chunked(size: int) -> AsyncIterator[bytes]:
            for start in range(0, len(data), size):
                yield data[start : start + size]

        yield SimpleNamespace(status=200, content=SimpleNamespace(iter_chunked=iter_chunked))


def _open_session(http: Any, *arguments: Any, **options: Any) -> None:
    _initialize(http, *arguments, **options)
    http._HTTPClient__session = CdnSession(http)


_initialize = FakeHTTPClient.__init__
FakeHTTPClient.__init__ = _open_session  # type: ignore[method-assign, assignment]
