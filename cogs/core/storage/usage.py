"""What creations use: pictures of a member's day (UTC), and files of the image store.

The rows are written in the transactions that change a `Creation`, so that no picture is lost or counted twice, and each file
can be found by its name. The counts outlive the creations: a member who deletes their data gets no new allowance.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Date, String, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database

NAMES_PER_QUERY: Final = 500
DIRECT_MESSAGES: Final = 0  # in place of a server's id


class UsageRow(Base):
    """How many pictures a member made on one day in one server."""

    __tablename__ = "usage"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    member: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, index=True)
    server: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    pictures: Mapped[int]


class FileRow(Base):
    """A file that a creation uses."""

    __tablename__ = "files"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    creation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, index=True)


class QuotaStore:
    """Reads how much of their daily allowance members have used, and counts what belongs to no creation.

    Its methods raise `DatabaseUnavailableError`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def used_today(self, member: int) -> dict[int, int]:
        """Return how many pictures ``member`` made today, by server."""
        rows = select(UsageRow).where(UsageRow.day == today(), UsageRow.member == member)
        found = await self._database.scalars(rows, DATABASE_UNREACHABLE)
        return {row.server: row.pictures for row in found}

    async def charge(self, member: int, server: int | None, pictures: int) -> None:
        """Count ``pictures`` that belong to no creation."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await add_usage(session, member, server, datetime.now(UTC), pictures)

    async def delete_past(self) -> None:
        """Delete the counts of past days.

        Yesterday's remain: a request from before midnight may still fail and return its pictures.
        """
        async with self._database.transaction("The counts of past days cannot be deleted.") as session:
            await session.execute(delete(UsageRow).where(UsageRow.day < today() - timedelta(days=1)))


async def add_usage(session: AsyncSession, member: int, server: int | None, requested: datetime, pictures: int) -> None:
    """Add ``pictures``, possibly negative, to the count of a day.

    The day is that of ``requested``.
    """
    key = {"day": requested.astimezone(UTC).date(), "member": member, "server": server or DIRECT_MESSAGES}
    increment = update(UsageRow).filter_by(**key).values(pictures=UsageRow.pictures + pictures)
    updated: Any = await session.execute(increment)
    if pictures > 0 and not updated.rowcount:
        try:
            async with session.begin_nested():
                session.add(UsageRow(**key, pictures=pictures))
        except IntegrityError:  # another process has just inserted the member's first row of the day
            await session.execute(increment)


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
    if rows:
        statement = await insert_into(session, table)
        await session.execute(statement.on_conflict_do_nothing(), rows)


async def insert_into(session: AsyncSession, table: type[Base]) -> Any:
    """Return an INSERT that can say what happens on a conflict."""
    is_sqlite = (await session.connection()).dialect.name == "sqlite"
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


def today() -> date:
    """Return the present day (UTC)."""
    return datetime.now(UTC).date()


def next_reset() -> datetime:
    """Return the time when the next day begins (UTC)."""
    return datetime.combine(today() + timedelta(days=1), datetime.min.time(), UTC)
