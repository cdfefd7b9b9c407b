"""Keep a second bot away from the data of a running one."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from sqlalchemy import NullPool, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from cogs.core.storage.database import DATABASE_ERRORS, STARTUP_TIMEOUT_SECONDS, DatabaseUnavailableError, first_line
from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)
ADVISORY_LOCKS: Final = 0x6461726B  # "dark" in ASCII: the first key of all locks of bots
ALL_SHARDS: Final = -1  # the second key; other ones are shards
DEAD_PROCESS_SECONDS = 3.0  # until PostgreSQL has noticed that a process of this machine was killed
RETRY_SECONDS: Final = 0.2
CHECK_SECONDS = 3.0  # between two looks whether the database still knows the locks

# PostgreSQL notices within 20 seconds that the machine of a process is gone.
KEEPALIVE: Final = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}


@contextlib.contextmanager
def lock_data(places: Iterable[Path], name: str = "") -> Iterator[None]:
    """Lock each of ``places``, which are files or folders, for the process ``name``.

    The system ends the lock of a process that dies. Raises `DarkroomError` where a process of this name runs already.
    """
    with contextlib.ExitStack() as locks:
        for place in places:
            path = place.with_name(f"{place.name}{f'-{name}' if name else ''}.lock")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                locks.enter_context(FileLock(path, timeout=0))
            except Timeout:
                raise DarkroomError(
                    f"Another bot runs on {place} already. Stop it first, or give this one a DATA_DIR of its own."
                ) from None
            except (OSError, NotImplementedError) as error:  # some network file systems have no locks
                log.warning("%s cannot be locked, so a second bot on it would not be noticed: %s", place, error)
        yield


@contextlib.asynccontextmanager
async def hold_shards(url: str, shard_ids: Sequence[int]) -> AsyncIterator[None]:
    """Hold the right to serve ``shard_ids``, all if empty, with the PostgreSQL database at ``url``.

    PostgreSQL ends it with the connection, so also when this process dies. Does nothing for SQLite. Raises `DarkroomError`
    where another process has one of the shards, and `DatabaseUnavailableError`.
    """
    if not url.startswith("postgresql"):
        yield
        return
    async with contextlib.AsyncExitStack() as held:
        try:
            connection = await _connect(url, held)
            granted = await _try_locks(connection, shard_ids)
            wait_until = time.monotonic() + DEAD_PROCESS_SECONDS
            while not granted and time.monotonic() < wait_until:
                await asyncio.sleep(RETRY_SECONDS)
                granted = await _try_locks(connection, shard_ids)
        except (*DATABASE_ERRORS, ImportError) as error:
            raise DatabaseUnavailableError(f"The database of DATABASE_URL cannot be used: {first_line(error)}") from error
        if not granted:
            raise DarkroomError(
                "Another bot uses this database already. Stop it first, or set other SHARD_IDS for each process."
                if shard_ids
                else "Another bot uses this database already. Stop it first, or set SHARD_COUNT and SHARD_IDS for each process."
            )
        keeping = asyncio.create_task(_keep(connection, url, shard_ids, held))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])


async def _connect(url: str, held: contextlib.AsyncExitStack) -> AsyncConnection:
    options: dict[str, Any] = {}
    if make_url(url).get_driver_name() == "asyncpg":
        options = {"timeout": STARTUP_TIMEOUT_SECONDS, "server_settings": KEEPALIVE}
    engine = create_async_engine(url, hide_parameters=True, poolclass=NullPool, connect_args=options)
    engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    held.push_async_callback(engine.dispose)
    return await held.enter_async_context(engine.connect())


async def _try_locks(connection: AsyncConnection, shard_ids: Sequence[int]) -> bool:
    """Take the lock of each shard; a process of all shards excludes all others."""
    take_all = func.pg_try_advisory_lock_shared if shard_ids else func.pg_try_advisory_lock
    locks = [take_all(ADVISORY_LOCKS, ALL_SHARDS), *(func.pg_try_advisory_lock(ADVISORY_LOCKS, shard) for shard in shard_ids)]
    for lock in locks:
        if not await connection.scalar(select(lock)):
            await connection.scalar(select(func.pg_advisory_unlock_all()))
            return False
    return True


async def _keep(connection: AsyncConnection, url: str, shard_ids: Sequence[int], held: contextlib.AsyncExitStack) -> None:
    """Take the locks again after the connection was lost, such as by a restart of PostgreSQL.

    Where another bot has them by then, they are taken once it is gone.
    """
    granted = True
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        try:
            if granted:
                await connection.scalar(select(1))
            else:
                granted = await _try_locks(connection, shard_ids)
        except DATABASE_ERRORS:
            with contextlib.suppress(*DATABASE_ERRORS):
                await held.aclose()
            with contextlib.suppress(*DATABASE_ERRORS):  # it is still down
                connection = await _connect(url, held)
                granted = await _try_locks(connection, shard_ids)
                if not granted:
                    log.error("another bot uses this database as well: stop one of them")
