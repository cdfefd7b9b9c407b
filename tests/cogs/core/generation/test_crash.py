"""kill -9 at random moments: nothing that was accepted is lost, nothing is posted twice. ``--kills 200`` for the long form."""

import asyncio
import contextlib
import random

import pytest

from cogs.core.simulator.loopback import LoopbackDiscord
from tests.support.bot_process import (
    END_SECONDS,
    accepted_requests,
    count_deliveries,
    start_bot,
    states_in_database,
    until_all_delivered,
    until_all_ended,
)
from tests.support.waiting import until

INNOCENTS, POISON, MAX_STARTS = 8, "cursed", 12


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


async def test_killed_bot_delivers_every_request_once(tmp_path, pytestconfig):
    kills, chance = pytestconfig.getoption("kills"), random.Random(pytestconfig.getoption("kill_seed"))
    async with LoopbackDiscord() as wire:
        for kill in range(kills):
            async with start_bot(wire, tmp_path) as process:
                asking = asyncio.create_task(ask_now_and_then(wire, chance, range(4 * kill, 4 * kill + 4)))
                await killed(wire, process, chance)
                asking.cancel()
                await asyncio.wait([asking])
        async with start_bot(wire, tmp_path):
            await until_all_delivered(wire)
            await until_all_ended(tmp_path)
    promised = accepted_requests(wire)
    resumed = sum("Resuming" in str(request.json) for request in wire.backend.http_requests)
    print(f"\n{kills} kills, {len(wire.asked)} asked, {len(promised)} accepted, {resumed} times resumed:", end=" ")
    shown = count_deliveries(wire)
    lost = [interaction for interaction in promised if not shown[interaction.id]]
    twice = [interaction for interaction in promised if shown[interaction.id] > 1]
    uploads = [sum(f":{interaction.id}" in post for post in wire.posted) for interaction in promised]
    print(f"{len(lost)} lost, {len(twice)} twice, {max(uploads)} upload each at most")
    assert promised and not lost and not twice and set(uploads) == {1}
    states = states_in_database(tmp_path)
    assert {states[interaction.id] for interaction in promised} == {"delivered"}
    assert not any(message.ping_user_ids or message.mention_user_ids for message in wire.messages())


@pytest.mark.parametrize("signals", [1, 2])
async def test_stopped_bot_finishes_or_resumes_after_restart(tmp_path, signals):
    async with LoopbackDiscord() as wire:
        async with start_bot(wire, tmp_path) as process:
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
        assert bool(count_deliveries(wire)[running.id]) == (signals == 1)
        if late:
            assert "being restarted" in wire.backend.get_message(wire.channel.id, late.message_id).content
        async with start_bot(wire, tmp_path):
            async with asyncio.timeout(END_SECONDS):
                while not count_deliveries(wire)[running.id]:
                    await asyncio.sleep(0.1)
    assert count_deliveries(wire)[running.id] == 1
    assert "Traceback" not in (tmp_path / "bot.log").read_text()


async def ask_next(wire, folder, process):
    """Ask for the next innocent, or last for the poison, and wait until it is written down or the bot is dead."""
    asked = len(states_in_database(folder))
    if asked > INNOCENTS:
        return
    prompt = POISON if asked == INNOCENTS else f"innocent {asked}"
    with contextlib.suppress(ConnectionError, RuntimeError):  # the bot is gone
        await wire.ask(wire.members[asked % 3], prompt, steps=150, sampler="heun", count=2)
        await until(lambda: process.exitcode is not None or len(states_in_database(folder)) > asked)


async def test_request_that_crashes_the_bot_is_found_and_spares_the_others(tmp_path, pytestconfig):
    """Eight innocents and one that kills the process in its every step. It takes many starts, so it needs ``--kills 30``."""
    if pytestconfig.getoption("kills") < 30:
        pytest.skip("needs --kills 30")
    states, starts = {}, 0

    def all_ended():
        states.update(states_in_database(tmp_path))
        return len(states) > INNOCENTS and set(states.values()) <= {"delivered", "failed"}

    async with LoopbackDiscord() as wire:
        while not starts or not all_ended():
            starts += 1
            assert starts <= MAX_STARTS, states
            async with start_bot(wire, tmp_path, poison=POISON) as process:
                while process.exitcode is None and not all_ended():
                    await ask_next(wire, tmp_path, process)
                    await asyncio.sleep(0.05)
        delivered = count_deliveries(wire)
    print(f"\n{INNOCENTS} innocents and 1 poison: {starts - 1} crashes until it was found, {len(delivered)} delivered")
    assert states.pop(max(states)) == "failed"
    assert set(states.values()) == {"delivered"} and dict(delivered) == dict.fromkeys(states, 1)
