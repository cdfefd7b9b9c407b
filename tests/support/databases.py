"""A migrated SQLite database, made once and copied for each test."""

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from cogs.core.storage.database import Database


def new_sqlite(path):
    """Return the URL of a new database at ``path`` with the present tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_template())
    return f"sqlite+aiosqlite:///{path}"


@cache
def _template():
    """Return a database file to which all migrations were applied."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:  # a loop is running in this one
        path = Path(folder) / "template.sqlite"
        thread.submit(asyncio.run, _migrate(f"sqlite+aiosqlite:///{path}")).result()
        return path.read_bytes()


async def _migrate(url):
    async with Database(url):
        pass
