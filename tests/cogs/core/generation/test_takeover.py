"""Periodic work: one call that fails does not stop the others."""

import asyncio
from types import SimpleNamespace

import pytest

from cogs.core.generation.maintenance import Maintenance
from cogs.core.generation.takeover import ProcessCoordinator
from cogs.core.storage.broadcasts import Broadcasts
from cogs.core.storage.database import DatabaseUnavailableError
from diffusion.errors import DarkroomError
from tests.support.waiting import WAIT_SECONDS

PIECES = ("lose", "obey", "refresh", "settle", "bury", "claim")


@pytest.mark.parametrize("error", [DatabaseUnavailableError("away"), ValueError("of another version")])
@pytest.mark.parametrize("failing", PIECES)
async def test_coordinator_continues_after_a_failing_task(failing, error):
    done = asyncio.Queue()

    def piece(name):
        async def do(*_):
            if name == failing:
                raise error
            done.put_nowait(name)
            return []

        return do

    lease = SimpleNamespace(renew_interval=0.001, reap_expired=piece("bury"))
    claims = SimpleNamespace(lease=lease, find_lost=piece("lose"), claim_orphans=piece("claim"))
    runner = SimpleNamespace(active=[], creation_store=SimpleNamespace(flush=piece("settle")))
    preference_store, orders = SimpleNamespace(refresh=piece("refresh")), SimpleNamespace(poll=piece("obey"))
    rounds = asyncio.create_task(ProcessCoordinator(claims, preference_store, orders, runner, None, lambda: True).run())
    async with asyncio.timeout(WAIT_SECONDS):
        seen = [await done.get() for _ in range(2 * (len(PIECES) - 1))]
    rounds.cancel()
    assert seen == 2 * [name for name in PIECES if name != failing]


async def test_coordinator_claims_nothing_while_the_engine_is_full():
    async def nothing(*_):
        return []

    async def claim_orphans(limit):
        pytest.fail("claimed")

    claims = SimpleNamespace(
        lease=SimpleNamespace(renew_interval=0.001, reap_expired=nothing), find_lost=nothing, claim_orphans=claim_orphans
    )
    runner = SimpleNamespace(active=[], creation_store=SimpleNamespace(flush=nothing))
    pieces = claims, SimpleNamespace(refresh=nothing), SimpleNamespace(poll=nothing), runner
    rounds = asyncio.create_task(ProcessCoordinator(*pieces, None, lambda: False).run())
    await asyncio.sleep(0.05)
    assert not rounds.done()
    rounds.cancel()


@pytest.mark.parametrize("error", [DarkroomError("out of reach"), PermissionError("a folder of NFS")])
async def test_maintenance_continues_after_errors(error, monkeypatch):
    monkeypatch.setattr("cogs.core.generation.maintenance.INTERVAL_SECONDS", 0.001)
    pruned = asyncio.Queue()

    async def forget():
        raise error

    async def waiting():
        return []

    async def nothing():
        return None

    async def prune(keep):
        pruned.put_nowait(keep)
        raise error

    quota_store = SimpleNamespace(delete_past=forget)
    creation_store = SimpleNamespace(unfinished=waiting, newest=nothing)
    image_store = SimpleNamespace(prune=prune, max_days=1)
    reviews = SimpleNamespace(undecided=waiting, unapplied=waiting)
    stores = SimpleNamespace(
        database=SimpleNamespace(is_shared=True),
        creation_store=creation_store,
        quota_store=quota_store,
        image_store=image_store,
        review_store=reviews,
        personal_data=SimpleNamespace(erasure=SimpleNamespace(resume=forget, max_days=None)),
    )
    upkeep = asyncio.create_task(Maintenance(stores, SimpleNamespace(run=forget), None).run())
    async with asyncio.timeout(WAIT_SECONDS):
        assert [await pruned.get() for _ in range(3)] == [set()] * 3
    upkeep.cancel()


async def test_broadcasts_skip_an_unknown_command(caplog):
    obeyed, rows = [], [SimpleNamespace(id=id, command=command, argument="") for id, command in ((2, "pause"), (1, "invented"))]

    class Session:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            pass

        async def execute(self, _):
            return SimpleNamespace(all=lambda: rows)

    orders = Broadcasts(SimpleNamespace(transaction=lambda _: Session()), SimpleNamespace(process_id=1))
    orders.handlers["pause"] = lambda _: obeyed.append("pause")
    await orders.poll()
    assert obeyed == ["pause"] and "the broadcast invented failed" in caplog.text
