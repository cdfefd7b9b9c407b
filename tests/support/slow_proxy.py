"""A proxy before PostgreSQL that delays each message of a client, or holds all of them back."""

import asyncio
import contextlib
import re
import tempfile
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class SlowProxy:
    """``async with SlowProxy(url)``; connect to `url`, and set `delay` in seconds."""

    def __init__(self, url):
        self.folder = Path(tempfile.mkdtemp(prefix="darkroom-proxy-"))
        self.url = re.sub("host=.*", f"host={self.folder}", url)
        self._server_folder = url.rpartition("host=")[2]
        self.delay = 0.0
        self.messages = 0
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._tasks = set()
        self._writers = set()

    async def __aenter__(self):
        self._server = await asyncio.start_unix_server(self._serve, self.folder / SOCKET)
        return self

    async def __aexit__(self, *_):
        self._may_pass.set()
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks, *(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    @contextlib.contextmanager
    def stall(self):
        """Let nothing pass."""
        self._may_pass.clear()
        try:
            yield
        finally:
            self._may_pass.set()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        try:
            to_server = await asyncio.open_unix_connection(str(Path(self._server_folder) / SOCKET))
        except OSError:  # the server is down
            writer.close()
            return
        self._writers.add(to_server[1])
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pass(reader, to_server[1], is_slow=True))
            group.create_task(self._pass(to_server[0], writer, is_slow=False))

    async def _pass(self, reader, writer, is_slow):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(2**16):
                if is_slow:
                    self.messages += 1
                    await asyncio.sleep(self.delay)
                    await self._may_pass.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
