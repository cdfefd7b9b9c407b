"""Which bot processes live: each renews a lease in their common database, and one whose lease ran out is dead to the others.

All go by the database's clock. A process that was only slow finds in each creation's ``holder`` what was taken from it
meanwhile. A process that has SQLite to itself needs none of this.
"""

import contextlib
import logging
import secrets
import time
from typing import Any, Final

from sqlalchemy import BigInteger, Float, String, delete, insert, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.expression import FunctionElement

from cogs.core.sharding import MAX_NAME_LENGTH
from cogs.core.storage.database import Base, Database, DatabaseUnavailableError

log = logging.getLogger(__name__)
LEASE_SECONDS = 15.0
UNLEASED: Final = "The lease of this process cannot be renewed."


class epoch(FunctionElement[float]):  # noqa: N801  (a function of SQL)
    """The database's clock, in seconds since 1970."""

    type = Float(53)
    inherit_cache = True


@compiles(epoch)
def _epoch(element: epoch, compiler: Any, **_: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM CURRENT_TIMESTAMP) AS DOUBLE PRECISION)"


@compiles(epoch, "sqlite")
def _epoch_of_sqlite(element: epoch, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


class ProcessRow(Base):
    """A process that lives until ``expires`` at least, in seconds since 1970; ``name`` tells its part of Discord."""

    __tablename__ = "processes"

    process_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(MAX_NAME_LENGTH))
    expires: Mapped[float] = mapped_column(Float(53))


class Lease:
    """That of this process: it `open`s one, keeps it by `renew` every ``beat`` seconds, and gives it up by `release`.

    A process of the same ``name`` that starts later takes its place, so that a restart need not wait for the lease to run out.
    The name is empty where one process serves all: then no other one could have taken anything over.
    """

    def __init__(self, database: Database, name: str = "", seconds: float | None = None) -> None:
        self._database, self.name = database, name
        self.seconds = LEASE_SECONDS if seconds is None else seconds
        self.process_id = secrets.randbits(62) + 1
        self._renewed = self._unbroken_since = -self.seconds

    @property
    def renew_interval(self) -> float:
        """How many seconds lie between two renewals: several may fail before the lease runs out."""
        return self.seconds / 5

    @property
    def is_shared(self) -> bool:
        """Whether other processes may use the same database."""
        return self._database.is_shared

    @property
    def is_single_process(self) -> bool:
        """Whether this process serves all of Discord."""
        return not self.name

    @property
    def is_valid(self) -> bool:
        """Whether nobody can have taken anything over yet, told without asking the database."""
        return (
            not self.is_shared
            or self.is_single_process
            or time.perf_counter() < self._renewed + self.seconds - self.renew_interval
        )

    async def open(self) -> None:
        """Take the place of whoever had this name; raises `DatabaseUnavailableError`."""
        if self.is_shared:
            async with self._database.transaction(UNLEASED) as session:
                await session.execute(delete(ProcessRow).filter_by(name=self.name))
            await self.renew()

    async def renew(self) -> None:
        """Live on; raises `DatabaseUnavailableError`, and is tried again after a beat."""
        asked = time.perf_counter()
        async with self._database.transaction(UNLEASED) as session:
            living: dict[str, Any] = {"expires": epoch() + self.seconds}
            renewed: Any = await session.execute(update(ProcessRow).filter_by(process_id=self.process_id).values(**living))
            if not renewed.rowcount:  # a first time, or too late
                await session.execute(insert(ProcessRow).values(**living, process_id=self.process_id, name=self.name))
        if asked > self._renewed + self.seconds - 2 * self.renew_interval:  # others may have waited longer
            self._unbroken_since = asked
        self._renewed = asked

    async def reap_expired(self) -> None:
        """Strike those off whose leases ran out; raises `DatabaseUnavailableError`.

        Not soon after this process began or was without the database: others may have been as well, and need time to renew.
        """
        if self._renewed < self._unbroken_since + self.seconds:
            return
        # Rows that are being renewed are locked and skipped: two processes cannot wait for each other.
        expired = select(ProcessRow.process_id).where(ProcessRow.expires < epoch()).with_for_update(skip_locked=True)
        async with self._database.transaction(UNLEASED) as session:
            if dead := (await session.scalars(expired)).all():
                log.warning("processes that are taken for dead: %d", len(dead))
                await session.execute(delete(ProcessRow).where(ProcessRow.process_id.in_(dead)))

    async def release(self) -> None:
        """End in order: what this process has left goes on elsewhere at once."""
        if self.is_shared:
            with contextlib.suppress(DatabaseUnavailableError):  # then it runs out
                async with self._database.transaction(UNLEASED) as session:
                    await session.execute(delete(ProcessRow).filter_by(process_id=self.process_id))
