"""Retry calls while something outside this process is unreachable."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential

log = logging.getLogger(__name__)
FIRST_WAIT_SECONDS = 2.0
MAX_WAIT_SECONDS = 60.0
T = TypeVar("T")


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
