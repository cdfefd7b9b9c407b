"""What the page shows: this process as it is, the others by their reports, and what the database knows of all.

The database is asked at most every few seconds, however many pages are open. If it is slow or down, the page shows what was
read last.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import Final

from pydantic import ValidationError

from cogs.core.dashboard.status import HISTORY_MINUTES, ProcessStatus, QueuedRequest, Speed, StatusReporter
from cogs.core.storage.database import Database, DatabaseUnavailableError
from cogs.core.storage.insights import Insights, ServerUsage, read_insights, read_usage
from cogs.core.storage.reports import Report, ReportStore

log = logging.getLogger(__name__)
REPORT_SECONDS: Final = 5.0  # between two reports of a process
STALE_SECONDS: Final = 20.0  # a report of that age is a sign that its process hangs, has crashed or lost the database
CACHE_SECONDS: Final = 2.0
USAGE_SECONDS: Final = 60.0  # between two counts of the usage, which reads the rows of all members
PATIENCE_SECONDS: Final = 2.0  # for the database, before the page is shown without it


@dataclass(frozen=True)
class Process:
    """A process; ``status`` is None if its report is of a version that this one cannot read."""

    name: str
    age: float
    status: ProcessStatus | None

    @property
    def is_stale(self) -> bool:
        """Whether it has not reported for so long that something is wrong."""
        return self.age > STALE_SECONDS


@dataclass(frozen=True)
class Stored:
    """What the database said at ``read_at``, by the clock of `Board`; None before its first answer."""

    read_at: float | None = None
    reports: tuple[Report, ...] = ()
    insights: Insights | None = None
    usage: tuple[ServerUsage, ...] = ()


@dataclass(frozen=True)
class Overview:
    """All that the page shows. ``database_age`` is in seconds, None if the database has never answered."""

    now: float
    processes: tuple[Process, ...]
    database_age: float | None
    insights: Insights | None
    usage: tuple[ServerUsage, ...]
    names: dict[int, str]

    @property
    def live(self) -> list[ProcessStatus]:
        """The processes that answer."""
        return [process.status for process in self.processes if process.status and not process.is_stale]

    @property
    def stale(self) -> list[Process]:
        """The processes that do not."""
        return [process for process in self.processes if process.is_stale]

    @property
    def is_database_late(self) -> bool:
        """Whether the database did not answer in time."""
        return self.database_age is None or self.database_age > STALE_SECONDS

    @property
    def queue(self) -> list[tuple[str, QueuedRequest]]:
        """The listed requests of all processes that answer, each with the name of its process."""
        return [(status.name, request) for status in self.live for request in status.queue]

    @property
    def queued_seconds(self) -> float | None:
        """The seconds of drawing that all processes have to do, None if none can tell."""
        known = [status.queued_seconds for status in self.live if status.queued_seconds is not None]
        return sum(known) if known else None

    @property
    def failure_count(self) -> int | None:
        """The failures of the last day, None while the database is silent."""
        return sum(count for _, count in self.insights.failure_kinds) if self.insights else None

    @property
    def recent(self) -> Speed:
        """The steps of the last minute in all processes."""
        return sum((status.recent for status in self.live), Speed())

    @property
    def minutes(self) -> list[Speed]:
        """The steps of all processes in each of the last minutes, oldest first; the present one is not over."""
        newest = int(self.now // 60)
        numbers = range(newest - HISTORY_MINUTES, newest)
        return [sum((status.minutes.get(number, Speed()) for status in self.live), Speed()) for number in numbers]

    def server_name(self, server: int | None) -> str:
        """Return the name of a server as the page shows it."""
        return self.names.get(server, str(server)) if server else "Direct messages"


class Board:
    """Collects an `Overview`; ``with_prompts`` adds the prompts of failed requests."""

    def __init__(
        self, reporter: StatusReporter, database: Database, reports: ReportStore, *, with_prompts: bool = False
    ) -> None:
        self._reporter = reporter
        self._database = database
        self._reports = reports
        self._with_prompts = with_prompts
        self._stored = Stored()
        self._reading: asyncio.Task[None] | None = None
        self._asked_at = -CACHE_SECONDS
        self._counted_at = -USAGE_SECONDS
        self._own = ProcessStatus()
        self._described_at = -CACHE_SECONDS

    async def overview(self) -> Overview:
        """Return what is known now; waits for the database for `PATIENCE_SECONDS`."""
        await self._read_in_time()
        now = time.monotonic()
        if now - self._described_at >= CACHE_SECONDS:
            self._own, self._described_at = self._reporter.status(), now
        stored = self._stored
        database_age = None if stored.read_at is None else now - stored.read_at
        others = [Process(report.name, report.age + (database_age or 0.0), _parse(report.status)) for report in stored.reports]
        processes = (Process(self._own.name, 0.0, self._own), *others)
        return Overview(
            now=time.time(),
            processes=processes,
            database_age=database_age,
            insights=stored.insights,
            usage=stored.usage,
            names=self._server_names(processes, stored),
        )

    async def close(self) -> None:
        """Stop reading."""
        if self._reading and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read_in_time(self) -> None:
        now = time.monotonic()
        is_idle = self._reading is None or self._reading.done()
        if is_idle and now - self._asked_at >= CACHE_SECONDS:
            self._asked_at = now
            self._reading = asyncio.create_task(self._read(), name="read for the dashboard")
        if self._reading and not self._reading.done():
            await asyncio.wait([self._reading], timeout=PATIENCE_SECONDS)

    async def _read(self) -> None:
        began = time.monotonic()
        try:
            reports = tuple(await self._reports.of_others()) if self._reports.has_others else ()
            insights = await read_insights(self._database, with_prompts=self._with_prompts)
            self._stored = replace(self._stored, read_at=began, reports=reports, insights=insights)
            if began - self._counted_at >= USAGE_SECONDS:
                self._stored = replace(self._stored, usage=await read_usage(self._database))
                self._counted_at = began
        except DatabaseUnavailableError:  # the log says so, and the page shows how old its facts are
            pass
        except Exception:
            log.exception("the dashboard cannot read the database")

    def _server_names(self, processes: tuple[Process, ...], stored: Stored) -> dict[int, str]:
        """Return the names that any process knows: of its queue, of its latest requests, and of its own servers."""
        names: dict[int, str] = {}
        for process in processes:
            names |= process.status.server_names if process.status else {}
        shown = {usage.server for usage in stored.usage}
        if stored.insights:
            shown |= {failure.server or 0 for failure in stored.insights.failures}
            shown |= {held.server or 0 for held in stored.insights.held}
        return names | {server: name for server in shown if server and (name := self._reporter.name_of(server))}


def _parse(status: str) -> ProcessStatus | None:
    try:
        return ProcessStatus.model_validate_json(status)
    except ValidationError:
        return None
