"""A member is told how long a request takes before it is accepted, if that is long."""

import pytest

from cogs.core.policy.limits import MemberLimits
from diffusion.families.defaults import Preset
from tests.support.messages import private_text


@pytest.fixture
def slow_server(server, monkeypatch):
    """A server whose pictures take half a minute a step, and whose drafts have two steps."""
    monkeypatch.setattr(server.engine, "estimate_wait", lambda request, owner: 30.0 * request.steps)
    server.service.rules.limits = MemberLimits(silent_wait_seconds=300)
    defaults = server.engine.model.defaults
    monkeypatch.setattr(server.engine.model, "defaults", type(defaults)(presets={"draft": Preset(2, "ddim")}))
    return server


async def made(server):
    await server.until_idle()
    return [creation.request["steps"] for creation in await server.service.stores.gallery.latest(server.alice.id, "", 25)]


@pytest.mark.parametrize(("label", "steps"), [("Wait", [11]), ("Draw drafts", [2]), ("Cancel", [])])
async def test_member_chooses_whether_to_wait(slow_server, label, steps):
    asked = await slow_server.alice.slash(slow_server.channel, "imagine", prompt="fox", steps=11)
    question = private_text(asked)
    assert "ready in about 6 minutes" in question and "ready in about 1 minute." in question
    assert not slow_server.service.jobs
    await slow_server.alice.click(asked.response, label=label)
    assert await made(slow_server) == steps


async def test_drafts_are_not_offered_if_they_take_as_long(slow_server):
    slow_server.service.rules.limits = MemberLimits(silent_wait_seconds=30)
    asked = await slow_server.alice.slash(slow_server.channel, "imagine", prompt="fox", steps=2)
    assert private_text(asked) == "These pictures would be ready in about 1 minute. Do you want to wait?"
    assert [button["label"] for row in asked.response.components for button in row["components"]] == ["Wait", "Cancel"]


async def test_request_that_is_ready_soon_asks_nothing(slow_server):
    result = await slow_server.alice.slash(slow_server.channel, "imagine", prompt="fox", steps=10)
    await slow_server.until_finished(result.response)
