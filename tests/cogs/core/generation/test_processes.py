"""Two processes of one bot on one PostgreSQL, here two services that act on the same simulated Discord."""

import asyncio

import discord
import pytest
from sqlalchemy import update

from cogs.core.generation.service import GenerationService
from cogs.core.policy.limits import MemberLimits
from cogs.core.request.preferences import Preferences, Scope
from cogs.core.simulator.browser import spawn_outside
from cogs.core.storage import usage
from cogs.core.storage.creations import State
from cogs.core.storage.database import Database
from cogs.core.storage.lease import Lease, ProcessRow
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.stores import Stores
from diffusion.config import EngineConfig
from diffusion.images.parameters import read_parameters
from diffusion.request import Limits
from diffusion.serving.engine import Engine
from tests.support.jobs import ask, count_posts, hold_steps, row_of, slow_down, until_running
from tests.support.messages import pictures_of, private_text, text_of
from tests.support.server import open_server
from tests.support.waiting import WAIT_SECONDS, until

RENEW_INTERVAL_SECONDS = 0.1


@pytest.fixture(autouse=True)
def long_leases(monkeypatch):
    """Renew and poll often, but let a lease expire only where a test says so, however slow the machine is."""
    monkeypatch.setattr("cogs.core.storage.lease.LEASE_SECONDS", 10 * WAIT_SECONDS)
    monkeypatch.setattr(Lease, "renew_interval", RENEW_INTERVAL_SECONDS)


@pytest.fixture
def url(postgresql):
    return postgresql.create_database()


@pytest.fixture
async def server(tiny_model, url):
    """The process that has Discord's events."""
    async with open_server(tiny_model, url) as server:
        server.service.lease.name = "0"
        yield server


@pytest.fixture
async def other(server, url, tiny_model):
    """Another process, which has none but can do all the rest."""
    async with (
        Database(url) as database,
        Engine(tiny_model, EngineConfig(limits=Limits(side=256))) as engine,
    ):
        stores = Stores.of(database, server.service.image_store, Lease(database, "1"))
        service = GenerationService(engine, stores, leads=False)
        service.result_actions = server.service.result_actions  # it would load the same features
        service.background.spawn = spawn_outside(server.env)
        await service.open(server.env.bot)
        service.lease._renewed_without_gap_since -= service.lease.seconds  # as if it had run for long, so that it may reap
        yield service
        await service.close()


async def let_expire(service):
    """Let the lease of a process expire, which works on and does not know of it."""
    heartbeat = [*service.background._daemons]
    for task in heartbeat:
        task.cancel()
    await asyncio.wait(heartbeat)
    async with service.database.sessions.begin() as session:
        await session.execute(update(ProcessRow).filter_by(process_id=service.lease.process_id).values(expires=0))


async def crash(service, monkeypatch):
    """End a process without a word to the others."""
    await let_expire(service)
    monkeypatch.setattr(service.lease, "release", lambda: asyncio.sleep(0))
    await service.close()


async def until_claims(process, times):
    """Wait until a process has looked for orphans so many times more."""
    claims, claim_orphans = [], process.claims.claim_orphans

    async def count_claims(*arguments):
        found = await claim_orphans(*arguments)
        claims.append(found)
        return found

    process.claims.claim_orphans = count_claims
    await until(lambda: len(claims) >= times)
    process.claims.claim_orphans = claim_orphans


async def until_taken_over(server, other, message):
    """Wait until ``other`` makes the pictures of ``message``; return their row."""
    row = await row_of(server, message)
    await server.until(lambda: row.id in other.jobs)
    return row


async def test_other_process_resumes_a_dead_process_job_with_its_seed(server, other, monkeypatch):
    may_continue = hold_steps(server, monkeypatch)
    message = await ask(server)
    await until_running(server, message)
    await until_claims(other, 3)
    assert not other.jobs  # not as long as it lives
    await crash(server.service, monkeypatch)
    may_continue.set()
    await server.until_finished(message)
    assert read_parameters(await pictures_of(message)[0].read())["seed"] == 5
    await server.until(lambda: not other.background)
    row = await row_of(server, message)
    assert (row.state, row.owner_process, row.attempts) == (State.DELIVERED, other.lease.process_id, 2)
    assert count_posts(server) == 1 and len(server.channel.history()) == 1


async def test_other_process_resumes_a_stopped_process_job_at_once(server, other, monkeypatch):
    may_continue = hold_steps(server, monkeypatch)
    message = await ask(server)
    await server.service.close(grace=0.1)
    may_continue.set()
    await server.until_finished(message)
    assert (await row_of(server, message)).owner_process == other.lease.process_id and count_posts(server) == 1


async def test_slow_process_does_not_post_a_job_that_it_lost(server, other, monkeypatch, caplog):
    may_continue = hold_steps(server, monkeypatch)
    message = await ask(server)
    await until_running(server, message)
    await let_expire(server.service)
    row = await until_taken_over(server, other, message)
    assert row.id in server.service.jobs  # both make it, for now
    may_continue.set()
    await server.until_finished(message)
    await server.until_idle()
    await server.until(lambda: not other.background)
    assert count_posts(server) == 1 and len(server.channel.history()) == 1
    assert f"<Creation {row.id}" in caplog.text and "belongs to another process now" in caplog.text
    assert (await row_of(server, message)).owner_process == other.lease.process_id


async def test_process_that_lost_a_job_stops_it_silently(server, other, monkeypatch):
    slow_down(server, monkeypatch, 0.05)
    message = await ask(server, steps=100)
    await until_running(server, message)
    row = await row_of(server, message)
    await other.claims.acquire(row.id, State.RUNNING)
    await server.until(lambda: not server.service.jobs)
    await server.until_idle()
    assert "ancelled" not in text_of(message)
    await other.claims.acquire(row.id, State.RUNNING)
    assert (await row_of(server, message)).state == State.RUNNING


async def test_cancel_reaches_a_job_in_another_process(server, other, monkeypatch):
    may_continue = hold_steps(server, monkeypatch)
    message = await ask(server)
    await server.service.close(grace=0.1)
    await server.until(lambda: other.jobs)
    server.service.closed_reason = None
    await server.service.lease.renew()
    await server.until(lambda: message.components)
    await until_running(server, message)
    counted = (await row_of(server, message)).counted
    await server.alice.click(message, label="Cancel")
    await server.until(lambda: not other.jobs)
    may_continue.set()
    await server.until_idle()
    row = await row_of(server, message)
    assert (row.state, row.counted) == (State.CANCELLED, counted)  # this process does not know how far the other came
    assert "Cancelled" in text_of(message) and count_posts(server) == 0


async def test_member_limit_counts_requests_in_other_processes(server, other, monkeypatch):
    server.service.rules.limits = MemberLimits(unfinished=1)
    slow_down(server, monkeypatch)
    message = await ask(server)
    row = await row_of(server, message)
    await other.claims.acquire(row.id, State.ACCEPTED, State.RUNNING)
    await server.until(lambda: not server.service.jobs)
    refused = await server.alice.slash(server.channel, "imagine", prompt="another")
    assert "1 unfinished request," in private_text(refused)


async def test_daily_limit_refuses_a_simultaneous_request_elsewhere(server, other, monkeypatch):
    server.service.rules.limits = MemberLimits(daily=1)
    check = server.service.rules.check_allowance

    async def meanwhile(*request):
        left = await check(*request)
        async with other.database.sessions.begin() as session:
            await usage.add_usage(session, server.alice.id, 5, discord.utils.utcnow(), 1)
        return left

    monkeypatch.setattr(server.service.rules, "check_allowance", meanwhile)
    refused = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)
    assert "your limit of 1 picture a day" in private_text(refused)
    await server.until_idle()
    assert sum((await server.service.quota_store.used_today(server.alice.id)).values()) == 1


async def test_settings_apply_in_other_processes(server, other):
    alice = server.alice.id
    await server.service.preference_store.set(Scope.MEMBER, alice, Preferences(steps=7))
    await server.until(lambda: other.preference_store.get(Scope.MEMBER, alice).steps == 7)
    await server.service.preference_store.set(Scope.MEMBER, alice, Preferences())
    await server.until(lambda: other.preference_store.get(Scope.MEMBER, alice) == Preferences())


async def test_set_keeps_earlier_changes_by_other_processes(server, other):
    alice = server.alice.id
    await other.preference_store.set(Scope.MEMBER, alice, Preferences(steps=7))
    await server.alice.slash(server.channel, "privacy remix", allowed=False)
    await other.preference_store.refresh()
    assert other.preference_store.get(Scope.MEMBER, alice) == Preferences(steps=7, remix=False)


async def test_refresh_reads_changes_after_a_long_outage(url):
    async with Database(url) as database, Database(url) as away:
        one, late = PreferenceStore(database), PreferenceStore(away)
        await one.open()
        await late.open()
        for number in range(5):
            await one.set(Scope.MEMBER, number, Preferences(steps=number + 1))
        late._as_of -= 10 * 3600  # longer than changes are remembered
        await late.refresh()
        assert [late.get(Scope.MEMBER, number).steps for number in range(5)] == [1, 2, 3, 4, 5]
        await one.set(Scope.MEMBER, 0, Preferences())
        await late.refresh()
        assert late.get(Scope.MEMBER, 0) == Preferences()


@pytest.fixture
def olga(server):
    """Who runs the bot."""
    role = server.guild.create_role("administrators", permissions=discord.Permissions(administrator=True))
    olga = server.guild.add_member(server.env.create_user("olga"), roles=[role])
    server.env.bot.owner_id = olga.id
    return olga


async def test_admin_commands_reach_all_processes(server, other, olga):
    told = []
    other.broadcasts.handlers |= {
        command: lambda _, command=command: told.append(command) for command in ("pause", "resume", "drain", "reload")
    }
    for command in ("pause", "resume", "drain", "reload"):
        told_them = private_text(await olga.slash(server.channel, f"admin {command}"))
        assert "within seconds: 1" in told_them or told_them.startswith("Drained")  # at once, as nothing is in hand
    await server.until(lambda: told == ["pause", "resume", "drain", "reload"])
    await olga.slash(server.channel, "admin resume")
    await other.broadcasts.publish("pause")
    await server.until(lambda: server.engine.paused)
    await other.broadcasts.publish("resume")
    await server.until(lambda: not server.engine.paused)


async def test_wait_until_idle_waits_for_all_processes(server, other, monkeypatch):
    may_continue = hold_steps(server, monkeypatch)
    message = await ask(server)
    waiting = asyncio.create_task(other.claims.wait_until_idle())
    await asyncio.sleep(3 * RENEW_INTERVAL_SECONDS)
    assert not waiting.done()
    may_continue.set()
    await server.until_finished(message)
    async with asyncio.timeout(WAIT_SECONDS):
        await waiting


async def test_admin_pause_of_a_lone_process_mentions_no_others(server, olga):
    assert "within seconds" not in private_text(await olga.slash(server.channel, "admin pause"))
