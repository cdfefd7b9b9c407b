"""What the dashboard shows, made up, and the dashboard itself on a free port."""

import contextlib
import functools
import time
from datetime import UTC, date, datetime, timedelta

from cogs.core.dashboard.access import Access
from cogs.core.dashboard.board import Overview, Process
from cogs.core.dashboard.page import Page
from cogs.core.dashboard.status import ProcessStatus, QueuedRequest, Speed
from cogs.core.dashboard.web import Web, serve
from cogs.core.storage.insights import FailedRequest, HeldRequest, Insights, ServerUsage

TOKEN = "a token of operators"
page_of = functools.cache(Page)  # to compile the templates takes long
EVIL = "<img src=x onerror=alert(1)>"


def queued(number, **values):
    return QueuedRequest(
        **{"short_id": f"k7f{number}", "member": 80_000_000_000_000_000 + number, "server": 5, "pictures": 2}
        | {"size": "512×512", "steps": 20, "model": "embedded", "is_running": number == 1, "share_done": 0.4}
        | {"waited": 4.0 * number, "price": 8.5, "seconds_left": 12.0 * number}
        | values
    )


def status(name="", **values):
    minute = int(time.time() // 60)
    minutes = {minute - back: Speed(steps=100 + 37 * (back % 7), rows=700, seconds=30.0) for back in range(1, 26)}
    return ProcessStatus(
        **{"name": name, "began": time.time() - 7300, "is_ready": True, "servers": 120, "latency": 0.08}
        | {"device": "cuda float16", "model": "embedded", "unfinished": 6, "waiting_members": 2, "queued_requests": 3}
        | {"queued_seconds": 25.5, "queue": tuple(queued(number) for number in (1, 2, 3))}
        | {"recent": Speed(steps=300, rows=2400, seconds=55.0), "minutes": minutes, "resident_bytes": 2_400_000_000}
        | {"models": {"embedded": 51_000_000, "someone/large-model": None}, "loop_lag": 0.0004, "pictures": 1234}
        | values
    )


def insights(**values):
    now = datetime.now(UTC)
    kind = "There is not enough memory for a picture of this size. Please try a smaller one."
    failed = FailedRequest("m3xa9", 81, 5, now - timedelta(minutes=9), now - timedelta(minutes=8), kind, 2)
    held = HeldRequest("p4qr2", 82, 6, 77, now - timedelta(hours=3), ("nsfw",), None)
    made = {"failure_kinds": ((kind, 3), (None, 1)), "failures": (failed,), "held": (held,), "held_count": 4}
    return Insights(**made | values)


def overview(*processes, **values):
    """An overview of ``processes``, by default of one that draws."""
    made = {"now": time.time(), "processes": processes or (Process("", 0.0, status()),), "database_age": 1.0}
    made |= {"insights": insights(), "names": {5: "Foxes", 6: "Owls"}}
    made |= {"usage": (ServerUsage(5, date(2026, 3, 2), 240, 31), ServerUsage(0, date(2026, 3, 2), 12, 4))}
    return Overview(**made | values)


class FixedBoard:
    """Shows always the same."""

    def __init__(self, shown):
        self.shown = shown

    async def overview(self):
        return self.shown


@contextlib.asynccontextmanager
async def served(shown=None, names=(), **page):
    """Serve ``shown`` on a free port; yield the address."""
    web = Web(FixedBoard(shown or overview()), page_of(**page), Access(TOKEN, names))
    async with serve(web.app, "127.0.0.1", 0) as address:
        yield address
