"""What each of several processes reports about itself, for the dashboard of one of them.

A process replaces its report every few seconds. The report of one that crashed remains, with its age, until a process of the
same name starts. Ages are by the database's clock.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Float, String, Text, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.sharding import MAX_NAME_LENGTH
from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database
from cogs.core.storage.lease import Lease, epoch
from cogs.core.storage.usage import insert_into

MAX_REPORTS: Final = 200  # that are read at once
KEPT_SECONDS: Final = 86_400.0  # so long is a process missed that is not there any more


class ReportRow(Base):
    """The ``status`` of a process as JSON, and when it ``reported``, in seconds since 1970.

    ``name`` is its `Config.process_name`.
    """

    __tablename__ = "process_reports"

    name: Mapped[str] = mapped_column(String(MAX_NAME_LENGTH), primary_key=True)
    process_id: Mapped[int] = mapped_column(BigInteger)
    reported: Mapped[float] = mapped_column(Float(53))
    status: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True)
class Report:
    """The ``status`` of another process as JSON, ``age`` seconds old."""

    name: str
    age: float
    status: str


class ReportStore:
    """Reads and writes the reports of processes. All methods raise `DatabaseUnavailableError`."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    @property
    def has_others(self) -> bool:
        """Whether other processes may serve the same bot."""
        return self._lease.is_shared and not self._lease.is_single_process

    async def publish(self, status: str) -> None:
        """Replace the report of this process, and forget processes that are long gone."""
        values = {"process_id": self._lease.process_id, "reported": epoch(), "status": status}
        async with self._database.transaction("This process cannot report to the dashboard.") as session:
            row = (await insert_into(session, ReportRow)).values(name=self._lease.name, **values)
            await session.execute(row.on_conflict_do_update(index_elements=[ReportRow.name], set_=values))
            await session.execute(delete(ReportRow).where(ReportRow.reported < epoch() - KEPT_SECONDS))

    async def withdraw(self) -> None:
        """Delete the report of this process, because it ends in order."""
        async with self._database.transaction("This process cannot withdraw its report.") as session:
            await session.execute(delete(ReportRow).filter_by(process_id=self._lease.process_id))

    async def of_others(self) -> list[Report]:
        """Return the reports of all other processes, by name."""
        age = (epoch() - ReportRow.reported).label("age")
        query = select(ReportRow.name, age, ReportRow.status).where(ReportRow.process_id != self._lease.process_id)
        async with self._database.reading(DATABASE_UNREACHABLE) as session:
            rows = (await session.execute(query.order_by(ReportRow.name).limit(MAX_REPORTS))).all()
        return [Report(row.name, max(0.0, row.age), row.status) for row in rows]
