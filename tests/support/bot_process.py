"""The bot as a process of its own that can be killed, and what it did until then."""

import asyncio
import contextlib
import json
import multiprocessing
import re
import sqlite3
import time
from collections import Counter

START_SECONDS, END_SECONDS = 60, 120
forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(["tests.support.wired_bot"])  # torch is loaded once, not once a kill


@contextlib.asynccontextmanager
async def start_bot(wire, folder, grace=30.0, **options):
    """A bot of its own process, ready for commands."""
    from tests.support.wired_bot import run

    wire.ready.clear()
    process = forkserver.Process(target=run, args=(wire.port, folder, grace), kwargs=options, daemon=True)
    process.start()
    try:
        async with asyncio.timeout(START_SECONDS):
            ready = asyncio.ensure_future(wire.ready.wait())
            while not ready.done():
                if process.exitcode is not None and options.get("poison"):
                    break  # it drew at once
                assert process.exitcode is None
                await asyncio.wait([ready], timeout=0.1)
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.join)


def accepted_requests(wire):
    """Return what was promised in the open; a refusal (who waits for five already) is seen by its member alone."""
    return [interaction for interaction in wire.asked if interaction.responded and not interaction.ephemeral]


def count_deliveries(wire):
    """Count the messages that show pictures, by the interaction that asked for them."""
    shown = [json.dumps(message.components) for message in wire.messages() if message.attachments]
    return Counter(int(id) for components in shown for id in set(re.findall(r"darkroom:result:reroll:\d+:(\d+)", components)))


async def until_all_delivered(wire):
    awaited, there = {interaction.id for interaction in accepted_requests(wire)}, -1
    async with asyncio.timeout(END_SECONDS) as timeout:
        while not awaited <= count_deliveries(wire).keys():
            if there != (there := len(count_deliveries(wire))):
                timeout.reschedule(asyncio.get_running_loop().time() + END_SECONDS)
            await asyncio.sleep(0.5)


async def until_all_ended(folder):
    """Wait for the last commit, which comes after the last post."""
    late = time.monotonic() + END_SECONDS
    while left := {id: state for id, state in states_in_database(folder).items() if state not in ("delivered", "cancelled")}:
        assert time.monotonic() < late, f"neither delivered nor cancelled: {left}"
        await asyncio.sleep(0.1)


def states_in_database(folder):
    with contextlib.closing(sqlite3.connect(folder / "darkroom.sqlite")) as connection:
        return dict(connection.execute("SELECT id, state FROM creations"))
