"""Members ask a bot of its own process while PostgreSQL is slow, stands still or is restarted.

``--delays 0.1,0.3,1,2 -n 0 -s`` prints a table: how soon 25 members are acknowledged and served.
"""

import asyncio
import contextlib
import re
import sqlite3
import time

import pytest
from sqlalchemy import text

from cogs.core.simulator.loopback import LoopbackDiscord
from cogs.core.storage import database as database_module
from cogs.core.storage.database import Database
from tests.support.bot_process import count_deliveries, start_bot
from tests.support.databases import new_sqlite
from tests.support.slow_proxy import SlowProxy
from tests.support.waiting import WAIT_SECONDS, until

LIFE_SECONDS = 840.0  # in which Discord accepts a final answer, with a margin
STALL_SECONDS = 18.0
MEMBERS = 25
SENTENCE = re.compile("try again")


class Crowd:
    """Members of ``wire`` who all use ``/imagine`` and one more command at once."""

    def __init__(self, wire):
        self.wire = wire
        self.seeds = iter(range(10_000))

    async def ask(self, members):
        """Let ``members`` ask; return the interactions of ``/imagine``, those of the others, and the time."""
        began = time.perf_counter()
        drawing = [await self.wire.ask(member, "red fox", steps=2, seed=next(self.seeds)) for member in members]
        names = ("usage", "queue", "history")
        others = [
            await self.wire.slash(member, self.wire.channel, names[number % len(names)])
            for number, member in enumerate(members)
        ]
        return drawing, others, began

    def text_of(self, interaction):
        """Return the answer of an interaction, "" before there is one."""
        if not interaction.responded or interaction.loading:
            return ""
        for id in (interaction.message_id, *interaction.followup_ids):
            if shown := self.wire.backend.messages[interaction.channel_id].get(id):
                return shown.content or "layout"
        return ""

    def unanswered(self, drawing, others):
        """Return the interactions without a final answer: a picture, or a sentence about why there is none."""
        deliveries = count_deliveries(self.wire)
        waiting = [one for one in drawing if not deliveries[one.id] and not SENTENCE.search(self.text_of(one))]
        return waiting + [one for one in others if not self.text_of(one)]

    async def until_answered(self, drawing, others):
        await until(
            lambda: not self.unanswered(drawing, others),
            seen=lambda: [self.text_of(one) for one in self.unanswered(drawing, others)],
            seconds=LIFE_SECONDS,
        )

    def assert_each_is_served_once(self, drawing):
        deliveries = count_deliveries(self.wire)
        assert {self.text_of(one): deliveries[one.id] for one in drawing if deliveries[one.id] != 1} == {}
        assert {sum(f":{one.id}" in post for post in self.wire.posted) for one in drawing} == {1}


async def test_members_are_acknowledged_while_the_database_stands_still(tmp_path, postgresql):
    async with (
        LoopbackDiscord(members=6) as wire,
        SlowProxy(postgresql.create_database()) as slow,
        start_bot(wire, tmp_path, database_url=slow.url),
    ):
        crowd = Crowd(wire)
        with slow.stall():
            drawing, others, _ = await crowd.ask(wire.members)
            for interaction in (*drawing, *others):
                interaction.initial_response_deadline = None  # a busy machine may take longer than Discord allows
            await until(lambda: all(interaction.responded for interaction in (*drawing, *others)))
            assert not count_deliveries(wire)
        await crowd.until_answered(drawing, others)
        crowd.assert_each_is_served_once(drawing)
    assert "Traceback" not in (tmp_path / "bot.log").read_text()


@contextlib.contextmanager
def counting_attempts(database):
    """Count the transactions that begin or try to."""
    attempts, begin = [], database.sessions.begin
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database.sessions, "begin", lambda: attempts.append(1) or begin())
        yield attempts


async def select_one(database):
    async with database.transaction("The database is away.") as session:
        return await session.scalar(text("SELECT 1"))


async def test_transaction_waits_while_the_server_is_restarted(postgresql, monkeypatch):
    monkeypatch.setattr(database_module, "UNREACHABLE_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(database_module, "RETRY_SECONDS", 0.01)
    async with Database(postgresql.create_database()) as database:
        await select_one(database)
        await asyncio.to_thread(postgresql.stop)
        try:
            with counting_attempts(database) as attempts:
                waiting = asyncio.create_task(select_one(database))
                await until(lambda: len(attempts) > 2)
        finally:
            await asyncio.to_thread(postgresql.start)
        assert await waiting == 1


async def test_transaction_waits_while_another_program_locks_sqlite(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "LOCKED_SECONDS", 0.01)
    monkeypatch.setattr(database_module, "RETRY_SECONDS", 0.01)
    path = tmp_path / "darkroom.sqlite"
    async with Database(new_sqlite(path)) as database:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with counting_attempts(database) as attempts:
                waiting = asyncio.create_task(select_one(database))
                await until(lambda: len(attempts) > 2)
            other.execute("ROLLBACK")
        assert await waiting == 1


async def measure(crowd, title, act):
    """Let all members ask while ``act`` happens; print a row of the table."""
    drawing, others, began = await crowd.ask(crowd.wire.members)
    asked = [*drawing, *others]
    acting = asyncio.create_task(act())
    acknowledged = {}

    def note():
        now = time.perf_counter() - began
        acknowledged.update({one.id: now for one in asked if one.responded and one.id not in acknowledged})
        return len(acknowledged) == len(asked) or now > 5  # later, Discord refuses all answers

    await until(note)
    await acting
    await crowd.until_answered(*[[one for one in kind if one.id in acknowledged] for kind in (drawing, others)])
    seconds = time.perf_counter() - began
    served = sum(count_deliveries(crowd.wire)[one.id] for one in drawing)
    slowest = max(acknowledged.values(), default=0)
    in_time = f"{len(acknowledged)} of {len(asked)} | {slowest:.1f} s"
    print(f"\n| {title} | {in_time} | {served} of {len(drawing)} in {seconds:.0f} s |", end="")
    assert len(acknowledged) == len(asked)
    crowd.assert_each_is_served_once(drawing)


async def test_members_are_answered_in_time_at_any_delay(tmp_path, postgresql, pytestconfig):
    delays = [float(delay) for delay in pytestconfig.getoption("delays").split(",") if delay]
    if not delays:
        pytest.skip("needs --delays 0.1,0.3,1,2")
    print("\n| database | acknowledged within 3 s | slowest | pictures |\n|---|---|---|---|", end="")
    async with (
        LoopbackDiscord(members=MEMBERS) as wire,
        SlowProxy(postgresql.create_database()) as slow,
        start_bot(wire, tmp_path, database_url=slow.url, max_waiting=1000),
    ):
        crowd = Crowd(wire)
        for delay in delays:
            slow.delay = delay
            await measure(crowd, f"each message {delay:g} s late", lambda: asyncio.sleep(0))
        slow.delay = 0.0

        async def stall():
            with slow.stall():
                await asyncio.sleep(STALL_SECONDS)

        async def restart():
            await asyncio.to_thread(postgresql.stop, "immediate")
            await asyncio.to_thread(postgresql.start)

        await measure(crowd, f"stands still for {STALL_SECONDS:g} s", stall)
        slow.delay = 0.05
        await measure(crowd, "is restarted", restart)
    assert "Traceback" not in (tmp_path / "bot.log").read_text()
