"""Tasks that outlive the command that started them, and daemons.

Daemons run as long as the bot.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from cogs.core.storage.database import waits_until
from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)
Spawn = Callable[[Coroutine[Any, Any, None]], Any]


async def run_all(*calls: Callable[[], Awaitable[None]]) -> None:
    """Await one call after another; a failure is logged and does not stop the rest."""
    for call in calls:
        try:
            await call()
        except DarkroomError:  # its origin has logged it
            pass
        except Exception:
            log.exception("%s failed", getattr(call, "__qualname__", call))


class Background:
    """Supervises tasks and daemons.

    It is true while any task runs. An orderly shutdown waits for tasks, not for daemons.
    """

    def __init__(self, spawn: Spawn = asyncio.create_task) -> None:
        self.spawn = spawn
        self._tasks: set[Any] = set()
        self._daemons: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine`` as a task, which does not wait for the database as long as a member would."""
        context = contextvars.copy_context()
        context.run(waits_until.set, 0.0)
        task = context.run(self.spawn, coroutine)
        # The event loop holds tasks weakly; this set keeps them until they end.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def start_daemon(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine``, which never ends by itself, until `cancel`."""
        self._daemons.append(self.spawn(coroutine))

    @contextlib.asynccontextmanager
    async def track_current_task(self) -> AsyncIterator[None]:
        """Count the current task as running inside the block.

        It has accepted something and will start a task for it.
        """
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def wait(self) -> None:
        """Wait until no task runs any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """Cancel all tasks and daemons and wait until they have ended."""
        tasks = [*self._tasks, *self._daemons]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
