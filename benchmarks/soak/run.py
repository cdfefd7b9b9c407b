"""Many members for a long time: ``python -m benchmarks.soak --members 50 --minutes 30``, on Linux.

The bot runs as a program of its own on a loopback Discord, with its real HTTP and gateway clients, journal and gallery. One
member floods, the others ask, wait, think and ask again, by commands and by buttons; then all wait for their answers. It must
hold that

- every request ends in exactly one message with its pictures or in exactly one sentence, and the journal agrees;
- the bot's process grows by less than 2 %: the median of its anonymous memory in the last tenth of the time, against that in
  the tenth after the first fifth;
- a member who floods delays another by at most one picture: between the moment in which a modest member's request comes to the
  engine and that in which its first picture is begun, the engine begins at most one picture of the flooder. A picture is begun
  when it is taken into the running batch, which happens as soon as there is room.

How late the event loop is and how long members wait is told besides. The exit code is 1 where a goal is missed, which is said.
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
from benchmarks.soak.findings import GROWTH, Findings, Memory, turns_taken, wrong_answers
from cogs.core.simulator.loopback import LoopbackDiscord

START_SECONDS = 300.0  # on a busy machine
SAMPLE_SECONDS = 2.0
SECOND_ANSWER_SECONDS = 2.0  # to see whether one comes that should not
CHANNELS = 5
FILES_KEPT = 4000  # of those posted last, for members who go on from their pictures


@contextlib.asynccontextmanager
async def bot_on(wire: LoopbackDiscord, folder: Path, model: str | None) -> AsyncIterator[int]:
    """Run the observed bot with its data and log in ``folder`` and give its process's id."""
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

    They think for ``think`` seconds on average before they ask again, and for pictures of about ``side`` pixels.
    """
    async with LoopbackDiscord(members, CHANNELS) as wire:
        async with bot_on(wire, folder, model) as process:
            crowd, memory = Crowd(wire, think, side), []
            crowding = asyncio.create_task(crowd.run())
            began = time.perf_counter()
            while time.perf_counter() < began + seconds and not crowding.done():
                memory.append(memory_of(process))
                wire.forget(FILES_KEPT)
                await asyncio.wait([crowding], timeout=min(SAMPLE_SECONDS, seconds / 50))
            crowd.closing = True
            stopped = time.perf_counter()
            await crowding
            ended = time.perf_counter()
            await asyncio.sleep(SECOND_ANSWER_SECONDS)
        wrong = list(wrong_answers(crowd, wire, folder))
    lags = [float(late) for at, late in _rows(folder / "lags.tsv") if began <= float(at) <= stopped]
    overtaken, picture_seconds = turns_taken(_rows(folder / "turns.tsv"), crowd.flooder.id)
    errors = len(re.findall(r"\bERROR\b|\bCRITICAL\b|Traceback", (folder / "bot.log").read_text()))
    return Findings(
        began, stopped, ended, crowd.asked, crowd.flooder.id, wrong, lags, memory, overtaken, picture_seconds, errors
    )


def memory_of(process: int) -> Memory:
    """Measure a process by what Linux says about it."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    kibibytes = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB$", rollup, re.MULTILINE)}
    return Memory(time.perf_counter(), (kibibytes["Anonymous"] + kibibytes["Swap"]) / 1024, kibibytes["Rss"] / 1024)


def _rows(path: Path) -> Iterable[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def main() -> int:
    """Read the command line, soak and judge."""
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--members", type=int, default=50, help="one of them floods")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--think", type=float, default=15, help="seconds between an answer and the next request, on average")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--side", type=int, default=128, help="of the pictures asked for, in pixels")
    parser.add_argument("--folder", type=Path, help="an empty one for the bot's data, log and observations")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        findings = asyncio.run(soak(60 * options.minutes, options.members, options.think, folder, options.model, options.side))
        samples = (f"{s.at - findings.began:.1f}\t{s.anonymous:.2f}\t{s.resident:.2f}" for s in findings.memory)
        (folder / "memory.tsv").write_text("\n".join(("seconds\tanonymous_mib\tresident_mib", *samples)))
    findings.tell()
    missed = [*findings.missed(), *([f"memory grew by {findings.growth:.1%}"] if findings.growth >= GROWTH else [])]
    for goal in missed:
        print(f"MISSED   {goal}")
    return bool(missed)
