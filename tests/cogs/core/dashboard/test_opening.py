"""When the dashboard is there, and the sentences in which a start ends that cannot have it."""

import contextlib
import re
import socket
import sys
from types import SimpleNamespace

import aiohttp
import pytest
from pydantic import ValidationError

from cogs.core.config import Config, format_validation_error
from cogs.core.dashboard.opening import open_dashboard
from cogs.core.dashboard.status import StatusReporter
from cogs.core.storage.database import Database
from cogs.core.storage.lease import Lease
from cogs.core.storage.reports import ReportStore
from diffusion.errors import DarkroomError
from tests.support.dashboard import TOKEN, status
from tests.support.databases import new_sqlite
from tests.support.waiting import until


@pytest.fixture
async def service(tmp_path):
    async with Database(new_sqlite(tmp_path / "darkroom.sqlite")) as database:
        yield SimpleNamespace(
            database=database,
            lease=Lease(database),
            leads=True,
            engine=SimpleNamespace(watchers=[]),
            creation_store=SimpleNamespace(watchers=[]),
        )


def config(**values):
    return Config(_env_file=None, **values)


@contextlib.contextmanager
def refused(sentence):
    with pytest.raises(DarkroomError) as caught:
        yield
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


async def test_dashboard_is_off_unless_a_port_is_set_and_the_process_leads(service, capsys):
    async with open_dashboard(service, config()):
        assert not service.engine.watchers
    service.leads = False
    async with open_dashboard(service, config(dashboard_port=0)):
        assert not service.engine.watchers
    assert capsys.readouterr().out == ""


async def test_random_token_is_printed_once_and_the_operators_own_never(service, capsys, caplog):
    async with open_dashboard(service, config(dashboard_port=0)):
        printed = capsys.readouterr().out
    assert "Dashboard: http://127.0.0.1:" in printed and len(printed.split()[-1]) >= 32
    assert printed.split()[-1] not in caplog.text
    async with open_dashboard(service, config(dashboard_port=0, dashboard_token=TOKEN)):
        assert capsys.readouterr().out == ""


async def test_start_names_what_is_wrong(service, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with refused(f"The dashboard cannot be served on 127.0.0.1:{port}: "):
            async with open_dashboard(service, config(dashboard_port=port)):
                pass
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "cogs.core.dashboard.page", raising=False)
    monkeypatch.delitem(sys.modules, "cogs.core.dashboard.web", raising=False)
    with refused("The dashboard needs the package jinja2. Install it: pip install 'darkroom[dashboard]'"):
        async with open_dashboard(service, config(dashboard_port=0)):
            pass


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"dashboard_port": "70000"}, "The setting DASHBOARD_PORT is wrong: Input should be less than or equal to 65535"),
        ({"dashboard_port": "web"}, "The setting DASHBOARD_PORT is wrong: Input should be a valid integer"),
        ({"dashboard_token": "short"}, "The setting DASHBOARD_TOKEN is wrong: it is too short. Take at least 16 characters"),
    ],
    ids=["too high", "no number", "token"],
)
def test_wrong_setting_is_named(values, sentence):
    with pytest.raises(ValidationError) as caught:
        config(**values)
    assert format_validation_error(caught.value).startswith(sentence)


def test_empty_address_is_loopback():
    assert config(dashboard_names="a.example, ,b.example").dashboard_host_names == ["a.example", "b.example"]


async def test_follower_reports_to_the_dashboard_of_the_leader_until_it_stops(service, monkeypatch, caplog):
    monkeypatch.setattr(ReportStore, "has_others", True)  # SQLite stands for PostgreSQL
    monkeypatch.setattr(StatusReporter, "status", lambda self: status(self._service.lease.name))
    follower = SimpleNamespace(**vars(service) | {"lease": Lease(service.database, "4-7"), "leads": False})
    service.lease = Lease(service.database, "0-3")
    leader_reads = ReportStore(service.database, service.lease)
    async with open_dashboard(follower, config()):
        await until(leader_reads.of_others)
        with caplog.at_level("INFO"):
            async with open_dashboard(service, config(dashboard_port=0, dashboard_token=TOKEN)):
                (address,) = re.findall(r"dashboard on (\S+)", caplog.text)
                async with (
                    aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
                    session.post(f"{address}login", data={"token": TOKEN}) as answer,
                ):
                    assert "shards 4-7" in await answer.text()
    assert await leader_reads.of_others() == []
