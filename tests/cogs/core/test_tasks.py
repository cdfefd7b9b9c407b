import asyncio
import time

import pytest

from cogs.core import tasks
from cogs.core.tasks import retry


def is_os_error(error):
    return isinstance(error, OSError)


@pytest.fixture
def waits(monkeypatch):
    """Collect the waits between two calls instead of waiting."""
    seen = []

    async def sleep(seconds):
        seen.append(seconds)

    monkeypatch.setattr(tasks.asyncio, "sleep", sleep)
    return seen


def failing(times, error=OSError):
    """Return a call that fails so many times before it succeeds."""
    failures = iter([error] * times)

    async def call():
        for failure in failures:
            raise failure
        return "done"

    return call


async def test_retry_waits_twice_as_long_after_each_failure_up_to_a_maximum(waits):
    assert await retry(failing(7), is_os_error) == "done"
    assert waits == [2, 4, 8, 16, 32, 60, 60]


async def test_retry_takes_a_smaller_maximum(waits):
    assert await retry(failing(3), is_os_error, max_wait=3) == "done"
    assert waits == [2, 3, 3]


async def test_retry_raises_an_error_that_is_not_temporary(waits):
    with pytest.raises(ValueError):
        await retry(failing(1, ValueError), is_os_error)
    assert not waits


async def test_retry_raises_the_last_error_when_the_time_is_over(waits):
    with pytest.raises(OSError):
        await retry(failing(2), is_os_error, until=time.monotonic())
    assert not waits


async def test_retry_can_be_cancelled_while_it_waits():
    waiting = asyncio.ensure_future(retry(failing(1), lambda _: True))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_retry_does_not_take_a_cancellation_for_a_failure(waits):
    with pytest.raises(asyncio.CancelledError):
        await retry(failing(1, asyncio.CancelledError), lambda _: True)
    assert not waits
