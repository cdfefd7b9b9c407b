"""What the page shows comes from this process, from the reports of others and from the database, without waiting for long."""

import asyncio
import time

import pytest

from cogs.core.dashboard import board as boards
from cogs.core.dashboard.board import Board
from cogs.core.dashboard.formats import amount, bars, memory, milliseconds, seconds
from cogs.core.dashboard.status import HISTORY_MINUTES, Speed, StepHistory
from cogs.core.storage import reports
from cogs.core.storage.database import DATABASE_UNREACHABLE, Database, DatabaseUnavailableError
from cogs.core.storage.lease import Lease
from cogs.core.storage.reports import ReportStore
from cogs.core.storage.usage import QuotaStore
from diffusion.serving.latency import Step
from tests.support.dashboard import queued, status
from tests.support.databases import new_sqlite


class Reporter:
    """The process of the dashboard."""

    def __init__(self, **values):
        self.values, self.asked = values, 0

    def status(self):
        self.asked += 1
        return status("0-3", **self.values)

    def name_of(self, server):
        return {5: "Foxes"}.get(server)


@pytest.fixture
async def database(tmp_path):
    async with Database(new_sqlite(tmp_path / "darkroom.sqlite")) as database:
        yield database


@pytest.fixture(autouse=True)
def reads_always(monkeypatch):
    monkeypatch.setattr(boards, "CACHE_SECONDS", 0.0)
    monkeypatch.setattr(boards, "STALE_SECONDS", 3600.0)  # however slow the machine is
    monkeypatch.setattr(ReportStore, "has_others", True)  # SQLite stands for PostgreSQL


def board_of(database, **values):
    return Board(Reporter(**values), database, ReportStore(database, Lease(database, "0-3")))


async def test_processes_are_shown_together_and_the_stale_one_as_such(database, monkeypatch):
    for name, age in (("4-7", 0.0), ("8-11", boards.STALE_SECONDS + 60), ("12-15", 0.0)):
        text = status(name, queue=(queued(9, server=8),), server_names={8: "Owls"}).model_dump_json()
        with monkeypatch.context() as patch:
            patch.setattr(reports, "epoch", lambda age=age: time.time() - age)
            await ReportStore(database, Lease(database, name)).publish("{}x" if name == "12-15" else text)
    await QuotaStore(database).charge(1, 5, 3)
    shown = await board_of(database).overview()
    assert [process.name for process in shown.processes] == ["0-3", "12-15", "4-7", "8-11"]
    assert [process.name for process in shown.stale] == ["8-11"] and shown.processes[1].status is None
    assert sum(process.unfinished for process in shown.live) == 12 and shown.recent.steps == 600
    assert [name for name, _ in shown.queue] == ["0-3"] * 3 + ["4-7"]
    assert [shown.server_name(server) for server in (5, 8, 7, None)] == ["Foxes", "Owls", "7", "Direct messages"]
    assert [usage.pictures for usage in shown.usage] == [3] and not shown.is_database_late


async def test_page_is_shown_without_a_database_that_hangs_or_fails(database, monkeypatch):
    board = board_of(database)
    assert (await board.overview()).insights.held_count == 0
    hangs, calls = asyncio.Event(), []

    async def hang(*_, **__):
        calls.append(1)
        await hangs.wait()
        raise DatabaseUnavailableError(DATABASE_UNREACHABLE)

    monkeypatch.setattr(boards, "read_insights", hang)
    monkeypatch.setattr(ReportStore, "has_others", False)
    monkeypatch.setattr(boards, "PATIENCE_SECONDS", 0.0)
    for _ in range(3):
        assert (await board.overview()).insights.held_count == 0  # what was read before
    assert len(calls) == 1  # the pages wait for one answer
    hangs.set()
    await board._reading
    await board.overview()
    assert len(calls) == 2
    await board.close()
    fresh = board_of(database)
    assert (await fresh.overview()).is_database_late
    await fresh.close()


async def test_many_pages_ask_once(database, monkeypatch):
    monkeypatch.setattr(boards, "CACHE_SECONDS", 3600.0)
    board = board_of(database)
    board._asked_at = board._described_at = -2 * 3600.0
    for _ in range(5):
        await board.overview()
    assert board._reporter.asked == 1


def test_history_counts_steps_by_minute_and_forgets_old_ones():
    now = [600_000.0]
    history = StepHistory(lambda: now[0])
    for rows in (2, 4):
        history.add(Step((4, 8, 8), rows, 0.5))
    assert history.recent() == Speed()  # the slice is not over
    now[0] += 10
    assert history.recent() == Speed(steps=2, rows=6, seconds=1.0)
    assert (history.recent().rows_per_call, history.recent().seconds_per_step) == (3.0, 0.5)
    now[0] += 60
    assert history.recent() == Speed() and history.minutes() == {10_000: Speed(steps=2, rows=6, seconds=1.0)}
    now[0] += 60 * HISTORY_MINUTES
    assert history.minutes() == {}
    history.add(Step((4, 8, 8), 1, 0.5))
    assert len(history._slices) == 1


def test_numbers_are_written_for_people():
    assert [seconds(each) for each in (None, 0.04, 59.6, 80)] == ["–", "0.0 s", "1 min 0 s", "1 min 20 s"]
    assert [seconds(each) for each in (7300, 100_000)] == ["2 h 1 min", "1 d 3 h"]
    assert [milliseconds(each) for each in (None, 0.0004, 0.08, 2.0)] == ["–", "0.4 ms", "80 ms", "2.0 s"]
    assert [amount(each) for each in (None, 0.0, 0.183, 12.34, 1234.5)] == ["–", "0", "0.18", "12.3", "1,234"]
    assert [memory(each) for each in (None, 12, 51_000_000, 999_999, 2.4e9)] == ["–", "12 bytes", "51 MB", "1000 kB", "2.4 GB"]
    assert [bar.height for bar in bars([None, 5, 10.0], "steps")] == [0, 50, 100]
    assert bars([1.5], "steps")[0].text == "1 min ago: 1.50 steps"
