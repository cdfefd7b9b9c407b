"""The lease that shows that a bot process is alive.

Each process renews its lease in the common database. When a lease has expired, the other processes delete it and take over the
creations of its process. All compare with the database's clock. A process that was only slow finds out by
`Creation.owner_process` what it has lost. A process with a SQLite database is the only one and needs no lease.
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
RENEWALS_PER_LEASE: Final = 5
NOT_RENEWED: Final = "This process cannot renew its lease."


class epoch(FunctionElement[float]):  # noqa: N801  (named like an SQL function)
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
    """A process that is alive until ``expires``, in seconds since 1970.

    ``name`` is its `Config.process_name`.
    """

    __tablename__ = "processes"

    process_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(MAX_NAME_LENGTH))
    expires: Mapped[float] = mapped_column(Float(53))


class Lease:
    """The lease of this process.

    `open` it, `renew` it every `renew_interval`, and `release` it at the end. A process that opens a lease of the same ``name``
    replaces the earlier one, so that a restart need not wait for expiry. The name is empty if this process serves all of
    Discord.
    """

    def __init__(self, database: Database, name: str = "", seconds: float | None = None) -> None:
        self._database = database
        self.is_shared = database.is_shared  # with other processes
        self.name = name
        self.seconds = LEASE_SECONDS if seconds is None else seconds
        self.process_id = secrets.randbits(62) + 1
        self._renewed_at = -self.seconds  # when the last renewal began
        self._confirmed_at = -self.seconds  # when the database had answered it
        self._renewed_without_gap_since = -self.seconds

    @property
    def renew_interval(self) -> float:
        """The seconds between two renewals.

        Several renewals can fail before the lease expires.
        """
        return self.seconds / RENEWALS_PER_LEASE

    @property
    def is_single_process(self) -> bool:
        """Whether this process serves all of Discord."""
        return not self.name

    @property
    def is_valid(self) -> bool:
        """Whether no other process can have taken anything over.

        Does not ask the database.
        """
        if not self.is_shared or self.is_single_process:
            return True
        return time.perf_counter() < self._renewed_at + self.seconds - self.renew_interval

    async def open(self) -> None:
        """Replace an earlier process of this name; raises `DatabaseUnavailableError`."""
        if self.is_shared:
            async with self._database.transaction(NOT_RENEWED) as session:
                await session.execute(delete(ProcessRow).filter_by(name=self.name))
            await self.renew()

    async def renew(self) -> None:
        """Extend the lease, or begin it again; raises `DatabaseUnavailableError`."""
        began = time.perf_counter()
        async with self._database.transaction(NOT_RENEWED) as session:
            values: dict[str, Any] = {"expires": epoch() + self.seconds}
            renewed: Any = await session.execute(update(ProcessRow).filter_by(process_id=self.process_id).values(**values))
            if not renewed.rowcount:  # the first time, or after another process deleted the expired lease
                await session.execute(insert(ProcessRow).values(**values, process_id=self.process_id, name=self.name))
        ended = time.perf_counter()
        if ended > self._confirmed_at + self._longest_gap:
            self._renewed_without_gap_since = ended
        self._renewed_at = began
        self._confirmed_at = ended

    @property
    def _longest_gap(self) -> float:
        """The most seconds between two renewals after which no lease can have expired.

        If this process had a longer gap, others may have had one of a whole lease.
        """
        return self.seconds - 2 * self.renew_interval

    async def reap_expired(self) -> None:
        """Delete the expired leases of other processes; raises `DatabaseUnavailableError`.

        Does nothing in the first ``seconds`` after this process started or was cut off from the database, because other
        processes may have been cut off too and need time to renew. So it renews its own lease first if it is late.
        """
        if time.perf_counter() > self._confirmed_at + self._longest_gap:
            await self.renew()
        began = time.perf_counter()
        if began < self._renewed_without_gap_since + self.seconds:
            return
        # A row that its process is renewing is locked. Skipping it avoids a deadlock between two processes.
        expired = select(ProcessRow.process_id).where(ProcessRow.expires < epoch()).with_for_update(skip_locked=True)
        async with self._database.transaction(NOT_RENEWED) as session:
            process_ids = (await session.scalars(expired)).all()
            if time.perf_counter() > began + self._longest_gap:  # the database stood still meanwhile, for the others as well
                return
            if process_ids:
                log.warning("processes whose leases have expired: %d", len(process_ids))
                await session.execute(delete(ProcessRow).where(ProcessRow.process_id.in_(process_ids)))

    async def release(self) -> None:
        """End the lease, so that other processes take over at once."""
        if self.is_shared:
            with contextlib.suppress(DatabaseUnavailableError):  # then the lease expires
                async with self._database.transaction(NOT_RENEWED) as session:
                    await session.execute(delete(ProcessRow).filter_by(process_id=self.process_id))
