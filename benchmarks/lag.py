"""How long the event loop is kept from its work while pictures are made: ``python -m benchmarks.lag``.

A task sleeps for a few milliseconds over and over and notes how much too late it wakes, first with nothing else to do, then
next to members who ask for pictures through the simulated Discord, previews, PNG encoding and edits included.
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

NAP = 0.005


async def watch(note: Callable[[float], None]) -> None:
    """``note`` the seconds by which naps end too late."""
    while True:
        asleep = time.perf_counter()
        await asyncio.sleep(NAP)
        note(time.perf_counter() - asleep - NAP)


def tell(name: str, lags: list[float]) -> None:
    """Print median, 99th percentile and maximum in milliseconds."""
    cuts = quantiles(lags, n=100)
    p50, p99, worst = (1000 * value for value in (cuts[49], cuts[98], max(lags)))
    print(f"{name:8} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   max {worst:6.1f} ms   ({len(lags)} samples)")


async def measure(members: int, seconds: float, model_id: str | None, folder: Path) -> None:
    """Let ``members`` ask again and again for ``seconds``."""
    async with open_service(Config(model_id=model_id), folder) as service, simulated(service, Darkroom) as env:
        guild = env.create_guild()
        channel = guild.create_text_channel("art")
        actors = [guild.add_member(env.create_user(f"member{index}")) for index in range(members)]
        await actors[0].slash(channel, "imagine", prompt="warm up")
        while service.jobs:
            await asyncio.sleep(0.05)
        lags: list[float] = []
        watcher = asyncio.create_task(watch(lags.append))
        await asyncio.sleep(3)
        tell("idle", lags)
        lags.clear()
        asked, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            if len(service.jobs) < members:
                await actors[asked % members].slash(channel, "imagine", prompt=f"red apple {asked}", count=1 + asked % 2)
                asked += 1
            await asyncio.sleep(0.05)
        watcher.cancel()
        tell("busy", lags)
        model = service.engine.model
        print(f"{asked} requests of {members} members in {seconds:g} s, {model.name} in {model.dtype}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.lag", description=__doc__)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options.members, options.seconds, options.model, Path(folder)))


if __name__ == "__main__":
    main()
