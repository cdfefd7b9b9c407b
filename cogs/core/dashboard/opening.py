"""Open the dashboard as the settings say, and let each of several processes report to it."""

import asyncio
import contextlib
import ipaddress
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Final

from cogs.core.config import Config
from cogs.core.dashboard.access import Access
from cogs.core.dashboard.board import REPORT_SECONDS, Board
from cogs.core.dashboard.status import StatusReporter
from cogs.core.generation.service import GenerationService
from cogs.core.storage.reports import ReportStore
from cogs.core.tasks import run_all
from diffusion.errors import DarkroomError
from diffusion.redaction import add_secrets
from diffusion.text import N_

log = logging.getLogger(__name__)
WITHDRAW_SECONDS: Final = 3.0  # for which a stop waits for the database
NO_PACKAGE: Final = N_("The dashboard needs the package {name}. Install it: pip install 'darkroom[dashboard]'")
NOT_ENCRYPTED: Final = "anybody who reaches %s can read what the dashboard sends: put a proxy with HTTPS before it"


@contextlib.asynccontextmanager
async def open_dashboard(service: GenerationService, config: Config) -> AsyncIterator[None]:
    """Serve the dashboard if a port is set and this process leads; report to that of the leader if there are several.

    Raises `DarkroomError`.
    """
    reports = ReportStore(service.database, service.lease)
    is_served = config.dashboard_port is not None and service.leads
    async with contextlib.AsyncExitStack() as opened:
        if is_served or reports.has_others:
            reporter = StatusReporter(service)
            if is_served:
                await opened.enter_async_context(_serving(service, config, reporter))
            if reports.has_others:
                await opened.enter_async_context(_reporting(reporter, reports))
        yield


@contextlib.asynccontextmanager
async def _serving(service: GenerationService, config: Config, reporter: StatusReporter) -> AsyncIterator[None]:
    try:
        from cogs.core.dashboard.page import Page
        from cogs.core.dashboard.web import Web, serve
    except ModuleNotFoundError as error:
        raise DarkroomError(NO_PACKAGE, name=error.name) from None
    own_token = config.dashboard_token.get_secret_value()
    token = own_token or secrets.token_urlsafe(24)
    add_secrets([token])
    with_prompts = config.log_prompts
    reports = ReportStore(service.database, service.lease)
    board = Board(reporter, service.database, reports, with_prompts=with_prompts)
    web = Web(board, Page(with_prompts=with_prompts), Access(token, config.dashboard_host_names))
    async with serve(web.app, config.dashboard_host, config.dashboard_port or 0) as address:
        log.info("dashboard on %s", address)
        if not own_token:  # printed rather than logged, as logs are kept and the token is blanked there
            print(f"Dashboard: {address} – its token until the bot stops: {token}", flush=True)
        if not _is_loopback(config.dashboard_host):
            log.warning(NOT_ENCRYPTED, address)
        try:
            yield
        finally:
            await board.close()


@contextlib.asynccontextmanager
async def _reporting(reporter: StatusReporter, reports: ReportStore) -> AsyncIterator[None]:
    async def report() -> None:
        await reports.publish(reporter.status().model_dump_json())

    async def report_often() -> None:
        while True:
            await run_all(report)
            await asyncio.sleep(REPORT_SECONDS)

    task = asyncio.create_task(report_often(), name="report to the dashboard")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        with contextlib.suppress(TimeoutError):  # the report of a process that is gone is shown as stale
            async with asyncio.timeout(WITHDRAW_SECONDS):
                await run_all(reports.withdraw)


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
