"""Wait for what happens in the background."""

import asyncio
import inspect

WAIT_SECONDS = 120.0  # long enough for a busy machine


async def until(condition, *, seen=None, seconds=WAIT_SECONDS):
    """Return the value of ``condition``, a function or coroutine function, as soon as it is true.

    Fail after ``seconds`` with its source, its last value, and what ``seen`` returns then.
    """
    value = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = condition()
                value = await found if inspect.isawaitable(found) else found
                if value:
                    return value
                await asyncio.sleep(0.02)
    except TimeoutError:
        details = "" if seen is None else f"\n{seen()}"
        raise AssertionError(f"still {value!r} after {seconds:.0f} s: {_source(condition)}{details}") from None


def _source(condition):
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)
