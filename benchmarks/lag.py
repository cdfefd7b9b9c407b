"""Measure how long drawing blocks the event loop: ``python -m benchmarks.lag``.

A task sleeps for a few milliseconds over and over and records how much too late it wakes: first with nothing else to do, then
while members request pictures through the simulated Discord, previews, PNG encoding and edits included.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles

from bot import Darkroom, open_service
from cogs.core.config import Config
from cogs.core.simulator.browser import simulated

NAP_SECONDS = 0.005


async def record_lag(record: Callable[[float], None]) -> None:
    """Pass the seconds by which each nap ends too late to ``record``."""
    while True:
        started = time.perf_counter()
        await asyncio.sleep(NAP_SECONDS)
        record(time.perf_counter() - started - NAP_SECONDS)


def print_lags(name: str, lags: list[float]) -> None:
    """Print the median, 99th percentile and maximum in milliseconds."""
    cuts = quantiles(lags, n=100)
    p50, p99, worst = (1000 * value for value in (cuts[49], cuts[98], max(lags)))
    print(f"{name:8} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   max {worst:6.1f} ms   ({len(lags)} samples)")


async def measure(members: int, seconds: float, model_id: str | None, folder: Path) -> None:
    """Keep one request per member in progress for ``seconds`` and print the lags."""
    async with open_service(Config(model_id=model_id), folder) as service, simulated(service, Darkroom) as env:
        guild = env.create_guild()
        channel = guild.create_text_channel("art")
        users = [guild.add_member(env.create_user(f"member{index}")) for index in range(members)]
        await users[0].slash(channel, "imagine", prompt="warm up")
        while service.jobs:
            await asyncio.sleep(0.05)
        lags: list[float] = []
        watcher = asyncio.create_task(record_lag(lags.append))
        await asyncio.sleep(3)
        print_lags("idle", lags)
        lags.clear()
        sent = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            if len(service.jobs) < members:
                await users[sent % members].slash(channel, "imagine", prompt=f"red apple {sent}", count=1 + sent % 2)
                sent += 1
            await asyncio.sleep(0.05)
        watcher.cancel()
        print_lags("busy", lags)
        model = service.engine.model
        print(f"{sent} requests of {members} members in {seconds:g} s, {model.name} in {model.dtype}")


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.lag", description=__doc__)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options.members, options.seconds, options.model, Path(folder)))


if __name__ == "__main__":
    main()
