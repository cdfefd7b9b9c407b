"""Tasks that outlive the command that started them, daemons, and calls to repeat.

Daemons run as long as the bot. Calls are repeated while something outside this process is unreachable.
"""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential

from cogs.core.storage.database import waits_until
from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)
FIRST_WAIT_SECONDS = 2.0
MAX_WAIT_SECONDS = 60.0
T = TypeVar("T")
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


def _name(error: BaseException | None) -> str:
    return type(error).__name__  # the text of an error may hold an interaction's token


async def retry(
    call: Callable[[], Awaitable[T]],
    is_temporary: Callable[[Exception], bool],
    *,
    until: float | None = None,
    max_wait: float | None = None,
    describe: Callable[[BaseException | None], str] = _name,
) -> T:
    """Await ``call()`` until it succeeds, waiting twice as long after each failure.

    Raises the error of the last call where `is_temporary` rejects it or ``until``, a time of `time.monotonic`, has passed.
    The waits grow from `FIRST_WAIT_SECONDS` to ``max_wait`` seconds, `MAX_WAIT_SECONDS` by default. The log shows each
    failure as ``describe`` returns it.
    """

    def log_failure(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("attempt %d failed (%s), next in %.1f s", state.attempt_number, describe(error), state.upcoming_sleep)

    retrying = AsyncRetrying(
        sleep=asyncio.sleep,
        stop=lambda state: until is not None and time.monotonic() >= until,
        wait=wait_exponential(FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS if max_wait is None else max_wait),
        retry=retry_if_exception(lambda error: isinstance(error, Exception) and is_temporary(error)),
        before_sleep=log_failure,
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            return await call()
    raise AssertionError("a retrying either returns or raises")
