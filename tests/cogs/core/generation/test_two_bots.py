"""Two bots of a shard each on one PostgreSQL, one of which dies or stands still: nothing is lost, nothing is posted twice."""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter

import pytest
from sqlalchemy import text

from cogs.core.simulator.loopback import LoopbackDiscord
from cogs.core.storage.database import Database
from tests.support.bot_process import END_SECONDS, START_SECONDS, accepted_requests, count_deliveries, forkserver

SHARDS, LEASE = 2, 2.0


class Bots:
    """Both, each a process of its own; a shared folder holds the pictures."""

    def __init__(self, wire, folder, url):
        self.wire, self.folder, self.url, self.running = wire, folder, url, {}
        self.starts = Counter()

    async def start(self, *shards):
        from tests.support.wired_bot import run

        for shard in shards:
            data = self.folder / str(shard)
            data.mkdir(exist_ok=True)
            settings = {"database_url": self.url, "pictures_url": str(self.folder / "pictures")}
            settings |= {"shard_count": SHARDS, "shard_ids": str(shard), "lease": LEASE}
            process = forkserver.Process(target=run, args=(self.wire.port, data), kwargs=settings, daemon=True)
            process.start()
            self.running[shard] = process
            self.starts[shard] += 1
        async with asyncio.timeout(START_SECONDS):
            ready = asyncio.ensure_future(self.wire.ready.wait())
            while not ready.done():
                assert all(process.exitcode is None for process in self.running.values())
                await asyncio.wait([ready], timeout=0.1)

    async def kill(self, shard):
        process = self.running.pop(shard)
        process.kill()
        await asyncio.to_thread(process.join)

    async def freeze(self, shard, seconds):
        """Let one stand still for longer than its lease."""
        os.kill(self.running[shard].pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        os.kill(self.running[shard].pid, signal.SIGCONT)

    async def stop(self):
        for shard in list(self.running):
            await self.kill(shard)


@contextlib.asynccontextmanager
async def two_bots(folder, url):
    async with LoopbackDiscord(shards=SHARDS) as wire:
        bots = Bots(wire, folder, url)
        try:
            await bots.start(*range(SHARDS))
            yield bots
        finally:
            await bots.stop()


async def ask_everywhere(wire, chance, numbers):
    for number in numbers:
        await asyncio.sleep(chance.uniform(0.02, 0.4))
        options = {"steps": chance.randint(2, 60), "count": chance.randint(1, 2), "seed": number}
        with contextlib.suppress(ConnectionError, RuntimeError):  # nobody serves that shard
            member, channel = chance.choice(wire.members), chance.choice(wire.channels)
            await wire.slash(member, channel, "imagine", prompt=f"picture {number}", **options)


async def everything_ended(url):
    async with Database(url) as database, asyncio.timeout(END_SECONDS):
        while True:
            async with database.engine.connect() as connection:
                rows = (await connection.execute(text("SELECT id, state, owner_process FROM creations"))).all()
            # What reached one that stood still came too late to be answered, and failed.
            if all(row.state in ("delivered", "cancelled", "failed") for row in rows):
                return {row.id: row for row in rows}
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("accident", ["kill", "freeze"])
async def test_failure_of_one_bot_of_two_delivers_every_request_once(tmp_path, pytestconfig, postgresql, accident):
    times = max(2, pytestconfig.getoption("kills") // 3)
    chance, url = random.Random(pytestconfig.getoption("kill_seed")), postgresql.create_database()
    async with two_bots(tmp_path, url) as bots:
        wire = bots.wire
        for number in range(times):
            asking = asyncio.create_task(ask_everywhere(wire, chance, range(6 * number, 6 * number + 6)))
            await asyncio.sleep(chance.uniform(0.5, 2.5))
            shard = number % SHARDS
            if accident == "kill":
                await bots.kill(shard)
                await asyncio.sleep(chance.choice([0, 2 * LEASE]))  # it is back before or after its lease runs out
                wire.ready.clear()
                await bots.start(shard)
            else:
                await bots.freeze(shard, 2 * LEASE)
            await asking
        if accident == "kill":  # and now for good
            await everything_ended(url)
            left = await wire.slash(wire.members[0], wire.channels[-1], "imagine", prompt="left", steps=100, count=4)
            async with asyncio.timeout(END_SECONDS):
                while not left.responded:
                    await asyncio.sleep(0.02)
            await bots.kill(SHARDS - 1)
        rows = await everything_ended(url)
    promised = accepted_requests(wire)
    shown = count_deliveries(wire)
    lost = [interaction for interaction in promised if not shown[interaction.id]]
    twice = [interaction for interaction in promised if shown[interaction.id] > 1]
    uploads = [sum(f":{interaction.id}" in post for post in wire.posted) for interaction in promised]
    logs = "".join((tmp_path / str(shard) / "bot.log").read_text() for shard in range(SHARDS))
    print(f"\n{times} times {accident}, {len(promised)} of {len(wire.asked)} accepted,", end=" ")
    print(f"{logs.count('taking over')} taken over, {logs.count('belongs to another process now')} given up:", end=" ")
    print(f"{len(lost)} lost, {len(twice)} twice, {max(uploads)} uploads each at most")
    assert promised and not lost and not twice
    assert accident == "freeze" or "taking over" in logs
    assert {rows[interaction.id].state for interaction in promised} == {"delivered"}
    assert "Traceback" not in logs
    requests = [(request.method, request.path.rpartition("/")[2]) for request in wire.backend.http_requests]
    assert requests.count(("PUT", "commands")) == bots.starts[0]  # the other one leaves that to this
