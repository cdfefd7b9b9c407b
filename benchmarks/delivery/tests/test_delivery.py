"""Results by token do not wait for a limit that they share."""

import pytest
from discord.http import Route

from benchmarks.delivery import run
from cogs.core.simulator.rate_limits import RateLimits


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(Route, "BASE", Route.BASE)
    monkeypatch.setattr(run, "STEP_SECONDS", 0.05)


@pytest.mark.parametrize(("route", "waits"), [(run.BY_TOKEN, False), (run.BY_CHANNEL, True)])
async def test_only_results_by_channel_wait_for_each_other(route, waits):
    limits = RateLimits(most=2, seconds=0.3)
    seconds, edits = await run.measure(6, route, limits)
    assert len(seconds) == 6 and set(edits) == {route}
    assert (edits[route] == 3 * 6) != waits  # by channel, progress gives way to results
    assert bool(seconds[-1] > 0.6) >= waits  # six results, two each 0.3 s
