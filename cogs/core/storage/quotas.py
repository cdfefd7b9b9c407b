"""How many pictures a member has made today, UTC. The journal counts in its own transactions, so that none is lost or doubled.

These counts outlive the creations: who has theirs deleted gets no new allowance by it.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Date, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.storage.database import Base, Database

DIRECT_MESSAGES = 0  # stands for the server of direct messages


class UsageRow(Base):
    """What a member made on one day in one server."""

    __tablename__ = "usage"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    member: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    server: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    pictures: Mapped[int]


class QuotaStore:
    """Reads the counts of today."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def is_shared(self) -> bool:
        """Whether other processes may count there, too."""
        return self._database.is_shared

    async def used_today(self, member: int) -> dict[int, int]:
        """Give how many pictures ``member`` has made today, by server; raises `DatabaseUnavailableError`."""
        query = select(UsageRow.server, UsageRow.pictures).where(UsageRow.day == today(), UsageRow.member == member)
        async with self._database.transaction("I cannot look up what you made today. Please try again later.") as session:
            return dict((await session.execute(query)).all())

    async def delete_past(self) -> None:
        """Delete what was counted on days that are over; raises `DatabaseUnavailableError`."""
        async with self._database.transaction("The counts of past days could not be deleted.") as session:
            # Yesterday's is kept: what was asked for before midnight may still fail and be given back.
            await session.execute(delete(UsageRow).where(UsageRow.day < today() - timedelta(days=1)))


async def add_usage(session: Any, member: int, server: int | None, asked: datetime, pictures: int) -> None:
    """Add ``pictures``, which are given back if negative, to the day on which they were ``asked`` for."""
    key = {"day": asked.astimezone(UTC).date(), "member": member, "server": server or DIRECT_MESSAGES}
    counting = update(UsageRow).filter_by(**key).values(pictures=UsageRow.pictures + pictures)
    added = await session.execute(counting)
    if pictures > 0 and not added.rowcount:
        try:
            async with session.begin_nested():
                session.add(UsageRow(**key, pictures=pictures))
        except IntegrityError:  # the day's first request at the same moment, where there are several writers
            await session.execute(counting)


def today() -> date:
    """Give the day that it is, UTC."""
    return datetime.now(UTC).date()


def next_reset() -> datetime:
    """Give the moment at which the next day begins."""
    return datetime.combine(today() + timedelta(days=1), datetime.min.time(), UTC)
