"""Which creations use which files of the image store.

The rows are written in the transactions that change a `Creation`, so that a file can be found by its name.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy import BigInteger, String, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database

NAMES_PER_QUERY: Final = 500


class FileRow(Base):
    """A file that a creation uses."""

    __tablename__ = "files"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    creation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, index=True)


async def replace_files(session: AsyncSession, creation_id: int, names: Iterable[str]) -> None:
    """Record that a creation uses the files ``names`` and no others."""
    await session.execute(delete(FileRow).where(FileRow.creation_id == creation_id))
    if rows := [{"name": name, "creation_id": creation_id} for name in sorted(names)]:
        await session.execute(insert(FileRow), rows)


async def used_files(database: Database, names: Collection[str]) -> set[str]:
    """Return those of ``names`` that any creation uses; raises `DatabaseUnavailableError`."""
    used = set[str]()
    all_names = list(names)
    for start in range(0, len(all_names), NAMES_PER_QUERY):
        part = all_names[start : start + NAMES_PER_QUERY]
        query = select(FileRow.name).where(FileRow.name.in_(part)).distinct()
        used.update(await database.scalars(query, DATABASE_UNREACHABLE))
    return used


async def insert_new(session: AsyncSession, table: type[Base], rows: list[dict[str, Any]]) -> None:
    """Insert those of ``rows`` that are not in ``table`` yet."""
    if not rows:
        return
    is_sqlite = (await session.connection()).dialect.name == "sqlite"
    statement: Any = sqlite.insert(table) if is_sqlite else postgresql.insert(table)
    await session.execute(statement.on_conflict_do_nothing(), rows)
