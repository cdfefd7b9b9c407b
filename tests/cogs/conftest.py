"""A simulated Discord server with the real bot in it, on a model of toy size."""

from datetime import timedelta

import discord
import pytest
from simcord.http import router

from cogs.core.messages import announcement, interactions
from cogs.core.simulator import layouts  # noqa: F401  (importing it makes simcord give layouts as Discord does)
from cogs.core.storage import database
from tests.support import openapi
from tests.support.models import build_classifier, model_of
from tests.support.review import flag_all
from tests.support.server import open_server
from tests.support.several_models import Shelf
from tests.support.waiting import WAIT_SECONDS


@pytest.fixture(autouse=True)
def nothing_arrives_late(monkeypatch):
    """Let nobody wait for what a bot that ended has asked for last: the clock of the simulated Discord stands still."""
    monkeypatch.setattr(announcement, "ORIGINAL_RESPONSE_GRACE", -timedelta(days=1))


@pytest.fixture(autouse=True)
def patient_with_the_database(monkeypatch):
    """Wait for the database as long as a busy machine needs, and soon give up one that refuses connections."""
    monkeypatch.setattr(database, "DATABASE_TIMEOUT_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(database, "UNREACHABLE_SECONDS", 0.2)


@pytest.fixture(autouse=True)
def patient_with_handlers(monkeypatch):
    """Let handlers answer as late as a busy machine lets them, instead of acknowledging before them."""
    monkeypatch.setattr(interactions, "ACKNOWLEDGE_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(interactions, "SUGGESTION_SECONDS", WAIT_SECONDS)


@pytest.fixture(scope="session")
def description(pytestconfig):
    path = pytestconfig.getoption("openapi")
    return path and openapi.Description.read(path)


@pytest.fixture(autouse=True)
def requests(monkeypatch, description):
    """All that the bot sends, none of which Discord would refuse; None without ``--openapi``."""
    if description is None:
        yield None
        return
    recorder = openapi.Recorder(router.dispatch)
    monkeypatch.setattr(router, "dispatch", recorder)
    yield recorder
    assert recorder.faults(description) == []


@pytest.fixture
async def server(tiny_model):
    async with open_server(tiny_model) as server:
        yield server


@pytest.fixture
async def server_of_two_models():
    """The bot with two models: `first` draws by default, `other` offers fewer samplers until it is loaded."""
    shelf = Shelf(first="epsilon", other="v_prediction")
    shelf.described["other"].samplers = {"dpm++": 1000, "euler": 1000, "ddim": 1000}
    async with open_server(shelf.described["first"]) as server:
        server.engine._residents.default.name = "first"
        await server.engine.offer(shelf.offers())
        server.shelf = shelf
        yield server


@pytest.fixture
async def steerable_server(tiny_components):
    async with open_server(model_of(tiny_components | {"classifier": build_classifier()})) as server:
        yield server


@pytest.fixture
async def flagging_server(tiny_model):
    """A server whose pictures are all flagged, with two moderators and a channel of theirs."""
    async with open_server(tiny_model, check=flag_all) as server:
        server.moderators = server.guild.create_text_channel("moderators")
        role = server.guild.create_role("moderators", permissions=discord.Permissions(manage_messages=True))
        server.mia, server.max = (
            server.guild.add_member(server.env.create_user(name), roles=[role]) for name in ("mia", "max")
        )
        yield server
