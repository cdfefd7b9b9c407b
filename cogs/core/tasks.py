"""What goes on after a command has been answered."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)
Spawn = Callable[[Coroutine[Any, Any, None]], Any]


async def run_all(*calls: Callable[[], Awaitable[None]]) -> None:
    """Do one of ``calls`` after another; one that fails keeps none of the others from being done."""
    for call in calls:
        try:
            await call()
        except DarkroomError:  # which is in the log
            pass
        except Exception:
            log.exception("%s failed", getattr(call, "__qualname__", call))


class Background:
    """Tasks that outlive a command, which an orderly end waits for; ``spawn`` starts them. True while there are any."""

    def __init__(self, spawn: Spawn = asyncio.create_task) -> None:
        self.spawn = spawn
        self._tasks: set[Any] = set()
        self._daemons: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine`` beside whatever else goes on."""
        task = self.spawn(coroutine)
        # The event loop holds tasks weakly; this set keeps them until they end.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def start_daemon(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine``, which never ends by itself, until `cancel`."""
        self._daemons.append(self.spawn(coroutine))

    @contextlib.asynccontextmanager
    async def track_current_task(self) -> AsyncIterator[None]:
        """Count the running task in: it has accepted something and starts what follows it soon."""
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def wait(self) -> None:
        """Wait until nothing goes on but chores."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """End what still goes on where it is."""
        tasks = [*self._tasks, *self._daemons]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
