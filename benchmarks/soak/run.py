"""Test the bot with many members for a long time: ``python -m benchmarks.soak``.

It needs Linux. The bot runs as a program of its own on a loopback Discord, with its real HTTP and gateway clients, database and
image store. One member floods; the others send requests by commands and buttons, wait and think. At the end all wait for their
answers. The goals are:

- Every request ends in exactly one message with its pictures or exactly one text reply, and the database agrees.
- The bot's anonymous memory grows by less than 1 %: its median in the last tenth of the time, against the tenth that begins
  after three fifths of it.
- The flooder delays another member by at most one picture. While a modest member's request waits in the engine for its first
  picture to start, the flooder's pictures that start cost at most as much as the dearest picture of all, by their prices in
  seconds. A picture starts when it joins the running batch.

The command also prints the lag of the event loop and the waits of the members. It exits with 1 and names the goals if any were
missed.
"""

import argparse
import asyncio
import contextlib
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from benchmarks.soak.crowd import Crowd
from benchmarks.soak.findings import MAX_MEMORY_GROWTH, Findings, Memory, find_mistakes, read_turns
from cogs.core.simulator.loopback import LoopbackDiscord

START_SECONDS = 300.0  # on a busy machine
SAMPLE_SECONDS = 2.0
SECOND_ANSWER_SECONDS = 2.0  # time for a wrong second answer to arrive
CHANNELS = 5
MAX_FILES = 4000  # the last ones: members go on from their pictures


@contextlib.asynccontextmanager
async def run_bot(wire: LoopbackDiscord, folder: Path, model: str | None) -> AsyncIterator[int]:
    """Run the observed bot with its data in ``folder`` and yield its process id."""
    command = [sys.executable, "-m", "benchmarks.soak.observed_bot", str(wire.port), str(folder)]
    with (folder / "bot.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(*command, *(["--model", model] if model else []), stdout=log, stderr=log)
    try:
        await asyncio.wait_for(wire.ready.wait(), START_SECONDS)
        yield process.pid
        process.terminate()
        await asyncio.wait_for(process.wait(), START_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def soak(seconds: float, members: int, think: float, folder: Path, model: str | None, side: int) -> Findings:
    """Let ``members`` use a bot for ``seconds``.

    They think for ``think`` seconds on average between requests, and request pictures of about ``side`` pixels.
    """
    async with LoopbackDiscord(members, CHANNELS) as wire:
        async with run_bot(wire, folder, model) as process:
            crowd = Crowd(wire, think, side)
            memory: list[Memory] = []
            crowd_task = asyncio.create_task(crowd.run())
            started = time.perf_counter()
            while time.perf_counter() < started + seconds and not crowd_task.done():
                memory.append(measure_memory(process))
                wire.forget(MAX_FILES)
                await asyncio.wait([crowd_task], timeout=min(SAMPLE_SECONDS, seconds / 50))
            crowd.closing = True
            stopped = time.perf_counter()
            await crowd_task
            ended = time.perf_counter()
            await asyncio.sleep(SECOND_ANSWER_SECONDS)
        mistakes = list(find_mistakes(crowd, wire, folder))
    lags = [float(late) for at, late in _rows(folder / "lags.tsv") if started <= float(at) <= stopped]
    overtaken, picture_seconds = read_turns(_rows(folder / "turns.tsv"), crowd.flooder.id)
    errors = len(re.findall(r"\bERROR\b|\bCRITICAL\b|Traceback", (folder / "bot.log").read_text()))
    return Findings(
        started, stopped, ended, crowd.requests, crowd.flooder.id, mistakes, lags, memory, overtaken, picture_seconds, errors
    )


def measure_memory(process: int) -> Memory:
    """Read the memory of a process from Linux."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    kibibytes = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB$", rollup, re.MULTILINE)}
    return Memory(time.perf_counter(), (kibibytes["Anonymous"] + kibibytes["Swap"]) / 1024, kibibytes["Rss"] / 1024)


def _rows(path: Path) -> Iterable[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def main() -> int:
    """Run the soak test, print its results and return 1 if a goal was missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--members", type=int, default=50, help="one of them floods")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--think", type=float, default=15, help="seconds between an answer and the next request, on average")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--side", type=int, default=128, help="of the requested pictures, in pixels")
    parser.add_argument("--folder", type=Path, help="an empty one for the bot's data, log and observations")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        findings = asyncio.run(soak(60 * options.minutes, options.members, options.think, folder, options.model, options.side))
        samples = (f"{s.at - findings.started:.1f}\t{s.anonymous:.2f}\t{s.resident:.2f}" for s in findings.memory)
        (folder / "memory.tsv").write_text("\n".join(("seconds\tanonymous_mib\tresident_mib", *samples)))
    findings.print_report()
    missed_goals = [
        *findings.missed_goals(),
        *([f"memory grew by {findings.growth:.1%}"] if findings.growth >= MAX_MEMORY_GROWTH else []),
    ]
    for goal in missed_goals:
        print(f"MISSED   {goal}")
    return bool(missed_goals)
