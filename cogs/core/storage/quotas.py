"""How many pictures each member made today (UTC).

`CreationStore` counts in the transactions that write its creations, so that no picture is lost or counted twice. The counts
outlive the creations: a member who deletes their data gets no new allowance.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Date, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database

DIRECT_MESSAGES: Final = 0  # in place of a server's id


class UsageRow(Base):
    """How many pictures a member made on one day in one server."""

    __tablename__ = "usage"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    member: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, index=True)
    server: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    pictures: Mapped[int]


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


def today() -> date:
    """Return the present day (UTC)."""
    return datetime.now(UTC).date()


def next_reset() -> datetime:
    """Return the time when the next day begins (UTC)."""
    return datetime.combine(today() + timedelta(days=1), datetime.min.time(), UTC)
