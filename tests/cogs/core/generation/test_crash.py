"""kill -9 at random moments: nothing that was accepted is lost, nothing is posted twice. ``--kills 200`` for the long form."""

import asyncio
import contextlib
import json
import multiprocessing
import random
import re
import sqlite3
import time
from collections import Counter

import pytest

from cogs.core.simulator.loopback import Wire

START_SECONDS, END_SECONDS = 60, 120
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.support.wired_bot"])  # torch is loaded once, not once a kill


@contextlib.asynccontextmanager
async def started(wire, folder, grace=30.0):
    """A bot of its own process, ready for commands."""
    from tests.support.wired_bot import run

    wire.ready.clear()
    process = processes.Process(target=run, args=(wire.port, folder, grace), daemon=True)
    process.start()
    try:
        async with asyncio.timeout(START_SECONDS):
            ready = asyncio.ensure_future(wire.ready.wait())
            while not ready.done():
                assert process.exitcode is None
                await asyncio.wait([ready], timeout=0.1)
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.join)


async def killed(wire, process, chance):
    """Kill ``process`` after a while, or right before or after Discord carries out one of its requests."""
    moment = chance.choice(["time", "before", "after", "before post", "after post"])
    count = chance.randint(1, 3 if "post" in moment else 30)
    dead = asyncio.Event()

    def kill(stage):
        nonlocal count
        count -= stage == moment
        if count <= 0:
            process.kill()
            dead.set()
        return dead.is_set()

    wire.on_request = kill
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(dead.wait(), chance.uniform(0.2, 2) if moment == "time" else 4)
    process.kill()
    await asyncio.to_thread(process.join)
    wire.on_request = lambda stage: False


async def ask_now_and_then(wire, chance, numbers):
    for number in numbers:
        await asyncio.sleep(chance.uniform(0.02, 0.4))
        options = {"steps": chance.randint(2, 40), "count": chance.randint(1, 2), "seed": number}
        with contextlib.suppress(ConnectionError, RuntimeError):  # the bot is gone
            await wire.ask(chance.choice(wire.members), f"picture {number}", **options)


def accepted(wire):
    """Give what was promised in the open; a refusal (who waits for five already) is seen by its member alone."""
    return [interaction for interaction in wire.asked if interaction.responded and not interaction.ephemeral]


def delivered(wire):
    """Count the messages that show pictures, by the interaction that asked for them."""
    shown = [json.dumps(message.components) for message in wire.messages() if message.attachments]
    return Counter(int(id) for components in shown for id in set(re.findall(r"darkroom:reroll:\d+:(\d+)", components)))


async def everything_delivered(wire):
    awaited, there = {interaction.id for interaction in accepted(wire)}, -1
    async with asyncio.timeout(END_SECONDS) as timeout:
        while not awaited <= delivered(wire).keys():
            if there != (there := len(delivered(wire))):
                timeout.reschedule(asyncio.get_running_loop().time() + END_SECONDS)
            await asyncio.sleep(0.5)


async def everything_ended(folder):
    """Wait for the last commit, which comes after the last post."""
    late = time.monotonic() + END_SECONDS
    while left := {id: state for id, state in journalled(folder).items() if state not in ("delivered", "cancelled")}:
        assert time.monotonic() < late, f"neither delivered nor cancelled: {left}"
        await asyncio.sleep(0.1)


def journalled(folder):
    with contextlib.closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        return dict(connection.execute("SELECT id, state FROM creations"))


async def test_a_killed_bot_loses_nothing_and_posts_nothing_twice(tmp_path, pytestconfig):
    kills, chance = pytestconfig.getoption("kills"), random.Random(pytestconfig.getoption("kill_seed"))
    async with Wire() as wire:
        for kill in range(kills):
            async with started(wire, tmp_path) as process:
                asking = asyncio.create_task(ask_now_and_then(wire, chance, range(4 * kill, 4 * kill + 4)))
                await killed(wire, process, chance)
                asking.cancel()
                await asyncio.wait([asking])
        async with started(wire, tmp_path):
            await everything_delivered(wire)
            await everything_ended(tmp_path)
    promised = accepted(wire)
    resumed = sum("Resuming" in str(request.json) for request in wire.backend.http_requests)
    print(f"\n{kills} kills, {len(wire.asked)} asked, {len(promised)} accepted, {resumed} times resumed:", end=" ")
    shown = delivered(wire)
    lost = [interaction for interaction in promised if not shown[interaction.id]]
    twice = [interaction for interaction in promised if shown[interaction.id] > 1]
    uploads = [sum(f":{interaction.id}" in post for post in wire.posted) for interaction in promised]
    print(f"{len(lost)} lost, {len(twice)} twice, {max(uploads)} upload each at most")
    assert promised and not lost and not twice and set(uploads) == {1}
    states = journalled(tmp_path)
    assert {states[interaction.id] for interaction in promised} == {"delivered"}
    assert not any(message.ping_user_ids or message.mention_user_ids for message in wire.messages())


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_stopped_bot_finishes_or_hands_over(tmp_path, signals):
    async with Wire() as wire:
        async with started(wire, tmp_path) as process:
            running = await wire.ask(wire.members[0], "red apple", steps=150, count=4)
            async with asyncio.timeout(END_SECONDS):
                while not running.responded:
                    await asyncio.sleep(0.02)
            for _ in range(signals):
                process.terminate()
                await asyncio.sleep(0.3)
            late = await wire.ask(wire.members[1], "late") if signals == 1 else None
            await asyncio.to_thread(process.join, END_SECONDS)
            assert process.exitcode == 0
        assert bool(delivered(wire)[running.id]) == (signals == 1)
        if late:
            assert "being restarted" in wire.backend.get_message(wire.channel.id, late.message_id).content
        async with started(wire, tmp_path):
            async with asyncio.timeout(END_SECONDS):
                while not delivered(wire)[running.id]:
                    await asyncio.sleep(0.1)
    assert delivered(wire)[running.id] == 1
    assert "Traceback" not in (tmp_path / "bot.log").read_text()
