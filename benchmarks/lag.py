"""Measure how long drawing blocks the event loop: ``python -m benchmarks.lag``.

A task sleeps for a few milliseconds over and over and records how much too late it wakes: first with nothing else to do, then
while members request pictures through the simulated Discord, previews, PNG encoding and edits included. With ``--beside``,
another process computes all the time.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from bot import Darkroom, open_service
from cogs.core.config import Config
from cogs.core.simulator.browser import simulated

NAP_SECONDS = 0.005
IDLE_SECONDS = 3.0


async def record_lag(record: Callable[[float], None]) -> None:
    """Pass the seconds by which each nap ends too late to ``record``."""
    while True:
        started = time.perf_counter()
        await asyncio.sleep(NAP_SECONDS)
        record(time.perf_counter() - started - NAP_SECONDS)


@dataclass(frozen=True)
class Lags:
    """The median, 99th percentile and maximum of ``samples`` lags, in milliseconds."""

    p50: float
    p99: float
    worst: float
    samples: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Lags":
        """Compute those of lags in ``seconds``."""
        cuts = quantiles(seconds, n=100)
        return cls(1000 * cuts[49], 1000 * cuts[98], 1000 * max(seconds), len(seconds))

    def __str__(self) -> str:
        return f"p50 {self.p50:6.1f} ms   p99 {self.p99:6.1f} ms   max {self.worst:6.1f} ms   ({self.samples} samples)"


@dataclass(frozen=True)
class Drawing:
    """The lags with nothing to do and while ``requests`` requests are drawn by ``model``."""

    idle: Lags
    busy: Lags
    requests: int
    model: str


@contextlib.contextmanager
def another_process(is_wanted: bool = True) -> Iterator[None]:
    """Let another process compute all the time, if ``is_wanted``."""
    if not is_wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


async def measure(members: int, seconds: float, model_id: str | None, folder: Path) -> Drawing:
    """Keep one request per member in progress for ``seconds`` and return the lags."""
    async with open_service(Config(model_id=model_id), folder) as service, simulated(service, Darkroom) as env:
        guild = env.create_guild()
        channel = guild.create_text_channel("art")
        users = [guild.add_member(env.create_user(f"member{index}")) for index in range(members)]
        await users[0].slash(channel, "imagine", prompt="warm up")
        while service.jobs:
            await asyncio.sleep(0.05)
        lags: list[float] = []
        watcher = asyncio.create_task(record_lag(lags.append))
        await asyncio.sleep(IDLE_SECONDS)
        idle = Lags.of(lags)
        lags.clear()
        sent = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            if len(service.jobs) < members:
                await users[sent % members].slash(channel, "imagine", prompt=f"red apple {sent}", count=1 + sent % 2)
                sent += 1
            await asyncio.sleep(0.05)
        watcher.cancel()
        model = service.engine.model
        return Drawing(idle, Lags.of(lags), sent, f"{model.name} in {model.dtype}")


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.lag", description=__doc__)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--beside", action="store_true", help="let another process compute all the time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, another_process(options.beside):
        drawing = asyncio.run(measure(options.members, options.seconds, options.model, Path(folder)))
    print(f"idle     {drawing.idle}")
    print(f"busy     {drawing.busy}")
    print(f"{drawing.requests} requests of {options.members} members in {options.seconds:g} s, {drawing.model}")


if __name__ == "__main__":
    main()
