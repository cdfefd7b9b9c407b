"""Each creation is made by one process: leases, claims and what fences off a process that was only slow."""

import asyncio
import contextlib
import itertools
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from cogs.core.storage import lease
from cogs.core.storage.claims import Claims
from cogs.core.storage.creations import Creation, CreationStore, CreationStoreError, OwnershipLostError, State
from cogs.core.storage.database import Database, DatabaseUnavailableError
from cogs.core.storage.lease import Lease, ProcessRow
from tests.support.creations import creation
from tests.support.waiting import WAIT_SECONDS, until

LONG, SHORT = 60.0, 0.5


class Process:
    """What a bot process has of its own."""

    def __init__(self, database, name="", seconds=LONG):
        self.lease = Lease(database, name, seconds)
        self.claims, self.creation_store = Claims(database, self.lease), CreationStore(database, self.lease)


@contextlib.asynccontextmanager
async def processes(url, *names, seconds=LONG):
    """Several, each with connections of its own."""
    async with contextlib.AsyncExitStack() as stack:
        opened = [Process(await stack.enter_async_context(Database(url)), name, seconds) for name in names]
        for process in opened:
            await process.lease.open()
        yield opened


@contextlib.asynccontextmanager
async def renewing(process):
    """Let a process live on meanwhile."""

    async def renew():
        while True:
            with contextlib.suppress(DatabaseUnavailableError):
                await process.lease.renew()
            await asyncio.sleep(0.1)

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def ids(creations):
    return [row.id for row in creations]


async def test_processes_create_the_tables_at_once(postgresql):
    url = postgresql.create_database()

    async def start(name):
        async with processes(url, name) as (process,):
            await process.creation_store.add(creation(int(name)))

    await asyncio.gather(*map(start, "1234"))
    async with processes(url, "") as (one,):
        assert ids(await one.creation_store.unfinished()) == [1, 2, 3, 4]


async def test_claim_orphans_takes_all_that_an_earlier_run_left(database_url):
    async with processes(database_url, "") as (earlier,):
        await earlier.creation_store.add(creation(2))
        await earlier.creation_store.add(creation(1))
    async with processes(database_url, "") as (later,):
        assert ids(await later.claims.claim_orphans()) == [1, 2]
        assert await later.claims.claim_orphans() == []


async def test_claim_orphans_spares_living_processes(postgresql):
    async with processes(postgresql.create_database(), "0-3", "4-7") as (one, other):
        await one.creation_store.add(creation(1))
        assert await other.claims.claim_orphans() == []
        await one.lease.release()
        assert ids(await other.claims.claim_orphans()) == [1]


async def test_claim_orphans_needs_no_expired_lease_after_a_restart(postgresql):
    url = postgresql.create_database()
    async with processes(url, "0-3", "4-7") as (one, other):
        await one.creation_store.add(creation(1))
        await other.creation_store.add(creation(2))
        async with processes(url, "0-3") as (again,):
            assert ids(await again.claims.claim_orphans()) == [1]


@pytest.mark.parametrize("claimers", [2, 5])
async def test_claim_orphans_gives_each_creation_to_one_process(postgresql, claimers):
    async with processes(postgresql.create_database(), "dead", *map(str, range(claimers))) as (dead, *living):
        for number in range(40):
            await dead.creation_store.add(creation(number + 1))
        await dead.lease.release()

        async def claim_all(process):
            found = []
            while some := await process.claims.claim_orphans(3):
                found += ids(some)
            return found

        claimed = await asyncio.gather(*map(claim_all, living))
        assert sorted(itertools.chain(*claimed)) == list(range(1, 41))


async def test_reap_expired_frees_creations_only_after_the_lease(postgresql):
    async with processes(postgresql.create_database(), "0", "1") as (slow, other):
        await slow.creation_store.add(row := creation(1))

        async def claim():
            other.lease._renewed_without_gap_since = 0
            await other.lease.renew()
            await other.lease.reap_expired()
            return await other.claims.claim_orphans()

        assert await claim() == []
        slow.lease.seconds = SHORT
        await slow.lease.renew()
        claimed = await until(claim)
        assert ids(claimed) == [1]
        assert not slow.lease.is_valid
        with pytest.raises(CreationStoreError):
            await slow.creation_store.add(creation(2))  # or it would be claimed at once
        slow.lease.seconds = LONG
        await slow.lease.renew()
        assert slow.lease.is_valid and await slow.claims.find_lost([1]) == {1}
        with pytest.raises(OwnershipLostError):
            await slow.creation_store.assert_owned(row)
        with pytest.raises(OwnershipLostError):
            await slow.creation_store.update(row, state=State.RENDERED)
        await other.creation_store.assert_owned(claimed[0])
        await other.creation_store.finish(claimed[0], State.DELIVERED)
        assert (await slow.creation_store.get(1)).state == State.DELIVERED


async def test_reap_expired_spares_all_after_a_common_outage(postgresql):
    async with processes(postgresql.create_database(), "0", "1", seconds=SHORT) as (one, other):
        await asyncio.sleep(2 * SHORT)  # as if neither had reached it
        await one.lease.renew()
        await one.lease.reap_expired()
        async with other.lease._database.sessions() as session:
            assert len((await session.scalars(select(ProcessRow))).all()) == 2


async def test_assert_owned_waits_in_an_outage_unless_the_process_is_alone(postgresql):
    async with processes(postgresql.create_database(), "", "0") as (single, one):
        await single.creation_store.add(alone := creation(1))
        await one.creation_store.add(shared := creation(2))
        postgresql.stop("immediate")
        try:
            await single.creation_store.assert_owned(alone)
            assert single.lease.is_valid
            one.lease.seconds = SHORT
            one.lease._renewed_at -= SHORT  # the lease ran out meanwhile
            holding = asyncio.create_task(one.creation_store.assert_owned(shared))
            await asyncio.sleep(SHORT)
            assert not holding.done() and not one.lease.is_valid
        finally:
            postgresql.start()
        one.lease.seconds = LONG
        async with renewing(one):
            await asyncio.wait_for(holding, WAIT_SECONDS)


async def test_acquire_takes_a_creation_from_another_process(postgresql):
    async with processes(postgresql.create_database(), "0", "1") as (one, other):
        await one.creation_store.add(held := creation(1, state=State.IN_REVIEW))
        assert await other.claims.acquire(1, State.ACCEPTED) is None
        taken = await other.claims.acquire(1, State.IN_REVIEW)
        await other.creation_store.finish(taken, State.DELIVERED)
        assert await one.claims.acquire(1, State.IN_REVIEW) is None
        with pytest.raises(OwnershipLostError):
            await one.creation_store.update(held, state=State.RENDERED)


async def test_held_by_others_counts_unfinished_creations(postgresql):
    async with processes(postgresql.create_database(), "0", "1") as (one, other):
        await one.creation_store.add(creation(1))
        await one.creation_store.add(creation(2, state=State.IN_REVIEW))
        await one.creation_store.add(creation(3, state=State.DELIVERED))
        await one.creation_store.add(creation(4, owner=8))
        assert await other.claims.held_by_others(7) == [1] and await one.claims.held_by_others(7) == []
        assert await one.claims.count_pending() == 2


async def test_claim_orphans_keeps_the_time_of_the_last_change(postgresql):
    async with processes(postgresql.create_database(), "0", "1") as (one, other):
        await one.creation_store.add(creation(1))
        async with one.lease._database.sessions.begin() as session:
            await session.execute(update(Creation).values(posting_in=5))
        before = (await one.creation_store.get(1)).changed
        await one.lease.release()
        (claimed,) = await other.claims.claim_orphans()
        assert claimed.changed == before == (await other.creation_store.get(1)).changed


async def test_renew_reports_an_unreachable_database(postgresql):
    async with processes(postgresql.create_database(), "0") as (one,):
        postgresql.stop("immediate")
        try:
            with pytest.raises(DatabaseUnavailableError, match="lease"):
                await one.lease.renew()
            await one.lease.release()  # does what it can
        finally:
            postgresql.start()


STEPS = st.lists(st.tuples(st.sampled_from(["die", "live", "claim", "end", "add"]), st.integers(0, 2)), max_size=25)


@pytest.fixture(scope="module")
def url_of_all_examples(postgresql):
    return postgresql.create_database()


@settings(max_examples=30)
@given(steps=STEPS)
def test_creations_end_once_in_any_order_of_failures(url_of_all_examples, steps):
    ended, added = asyncio.run(in_any_order(url_of_all_examples, steps))
    assert sorted(ended) == list(range(1, added + 1))


async def in_any_order(url, steps):
    """Let three processes do these things, then each finish what it believes to be its own; give what ended, and how many."""
    async with Database(url) as database:
        async with database.sessions.begin() as session:
            await session.execute(delete(Creation))
        living = [Process(database, str(number)) for number in range(3)]
        theirs, added, ended = [{}, {}, {}], 0, []

        async def end(process, row):
            with contextlib.suppress(OwnershipLostError):
                await process.creation_store.assert_owned(row)
                await process.creation_store.finish(row, State.DELIVERED)
                ended.append(row.id)

        for process in living:
            await process.lease.open()
        for action, index in [*steps, *(("live", index) for index in range(3)), ("claim", 0)]:
            process, believed = living[index], theirs[index]
            if action == "die":
                await process.lease.release()  # it goes on, unaware
            elif action == "live":
                await process.lease.renew()
            elif action == "add":
                added += 1
                believed[added] = creation(added)
                await process.creation_store.add(believed[added])
            elif action == "claim":
                believed |= {row.id: row for row in await process.claims.claim_orphans()}
            elif believed:
                await end(process, believed.popitem()[1])
        for process, believed in zip(living, theirs, strict=True):
            for row in believed.values():
                await end(process, row)
        return ended, added


@contextlib.contextmanager
def unanswered(process, monkeypatch):
    """Let the database do what it is told and never say so."""
    transaction = process.claims._database.transaction

    @contextlib.asynccontextmanager
    async def commit_and_fail(sentence, failure=DatabaseUnavailableError, **options):
        async with transaction(sentence, failure, **options) as session:
            yield session
        raise failure(sentence)

    with monkeypatch.context() as patched:
        patched.setattr(process.claims._database, "transaction", commit_and_fail)
        yield


async def test_claim_orphans_repeats_a_claim_without_a_reply(postgresql, monkeypatch):
    async with processes(postgresql.create_database(), "dead", "0") as (dead, one):
        await dead.creation_store.add(creation(1))
        await dead.lease.release()
        with unanswered(one, monkeypatch), pytest.raises(CreationStoreError):
            await one.claims.claim_orphans()
        await one.creation_store.add(creation(2))
        assert ids(await one.claims.claim_orphans()) == [1]  # and not what is in hand
        assert await one.claims.claim_orphans() == []


async def test_flush_fails_a_creation_added_without_a_reply(database_url, monkeypatch):
    async with processes(database_url, "") as (one,):
        with unanswered(one, monkeypatch), pytest.raises(CreationStoreError):
            await one.creation_store.add(creation(1))
        assert ids(await one.creation_store.unfinished()) == [1]
        await one.creation_store.flush()
        assert await one.creation_store.unfinished() == []
        row = await one.creation_store.get(1)
        assert (row.state, row.token) == (State.FAILED, "")


async def test_reap_expired_waits_after_an_outage_of_one_lease(postgresql):
    async with processes(postgresql.create_database(), "0", "1") as (one, other):
        one.lease._confirmed_at = time.perf_counter() - one.lease.seconds + one.lease.renew_interval
        async with one.claims._database.transaction("") as session:
            await session.execute(update(ProcessRow).filter_by(process_id=other.lease.process_id).values(expires=0))
        one.lease._renewed_without_gap_since = 0
        await one.lease.renew()
        await one.lease.reap_expired()
        await other.creation_store.add(creation(1))
        assert await one.claims.claim_orphans() == []
        one.lease._renewed_without_gap_since = 0
        await one.lease.reap_expired()
        assert ids(await one.claims.claim_orphans()) == [1]


async def cut_off(*cut_processes, leases=1.1):
    """Let processes that were alive for long reach the database again after so many leases."""
    for process in cut_processes:
        lease = process.lease
        lease._renewed_without_gap_since = 0
        lease._renewed_at = lease._confirmed_at = time.perf_counter() - leases * lease.seconds
    async with cut_processes[0].claims._database.transaction("") as session:
        await session.execute(update(ProcessRow).values(expires=0))


async def living(process):
    async with process.claims._database.reading("") as session:
        return set((await session.scalars(select(ProcessRow.process_id))).all())


@pytest.mark.parametrize("order", [("reap_expired", "renew"), ("renew", "reap_expired")], ids="-".join)
@pytest.mark.parametrize("leases", [1.1, 3.0])
async def test_reap_expired_spares_all_after_a_common_outage_in_either_order(postgresql, order, leases):
    async with processes(postgresql.create_database(), "0", "1") as (one, other):
        both = {one.lease.process_id, other.lease.process_id}
        await cut_off(one, other, leases=leases)
        for process in (one, other):
            for step in order:
                await getattr(process.lease, step)()
            assert await living(one) == both
        assert one.lease.is_valid and other.lease.is_valid


async def test_reap_expired_spares_all_when_the_database_stood_still_meanwhile(postgresql, monkeypatch):
    async with processes(postgresql.create_database(), "0", "1") as (one, other):
        await cut_off(other)
        one.lease._renewed_without_gap_since = 0
        await one.lease.renew()
        ahead = 0.0
        perf_counter = time.perf_counter
        monkeypatch.setattr(lease, "time", SimpleNamespace(perf_counter=lambda: perf_counter() + ahead))
        transaction = one.lease._database.transaction

        @contextlib.asynccontextmanager
        async def stand_still(sentence):
            nonlocal ahead
            async with transaction(sentence) as session:
                ahead = one.lease.seconds
                yield session

        with monkeypatch.context() as slow:
            slow.setattr(one.lease._database, "transaction", stand_still)
            one.lease._renewed_without_gap_since = 0
            await one.lease.reap_expired()
        assert other.lease.process_id in await living(one)
