"""Run the bot and record its lag and turns; `benchmarks.soak` starts this program.

The program writes its data to FOLDER, and two tables. ``lags.tsv`` has the time at which each nap of the event loop ended and
the seconds by which it was late. ``turns.tsv`` has the time at which each picture started to wait, started or left, with its
owner, job, id and the seconds of its price. Times are those of ``time.perf_counter``, which all processes of a machine
share on Linux.
"""

import argparse
import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import discord

import bot
from benchmarks.lag import record_lag
from cogs.core.config import Config
from cogs.core.simulator.connect import connect_to
from diffusion.serving.batcher import Batcher
from diffusion.serving.job import ImageTask
from diffusion.serving.price import Prices


class ObservedBatcher(Batcher[ImageTask]):
    """A batcher that records when each picture waits, starts and leaves."""

    def __init__(self, max_rows: int | None, prices: Prices, turns: TextIO) -> None:
        super().__init__(max_rows, prices)
        self.turns = turns

    def add(self, item: ImageTask) -> None:
        """Put ``item`` behind its owner's others."""
        super().add(item)
        self._record("waits", item)

    def next_batch(self) -> list[ImageTask]:
        """Admit what fits, then return the items whose turn it is."""
        before = list(self.waiting())
        batch = super().next_batch()
        waiting = set(self.waiting())
        for item in before:
            if item not in waiting:
                self._record("begun", item)
        return batch

    def discard(self, item: ImageTask) -> None:
        """Take ``item`` out."""
        super().discard(item)
        self._record("gone", item)

    def _record(self, event: str, item: ImageTask) -> None:
        price = self._cost(item)
        self.turns.write(f"{time.perf_counter():.4f}\t{event}\t{item.owner}\t{id(item.job)}\t{id(item)}\t{price:.4f}\n")


async def observe(settings: Config, folder: Path) -> None:
    """Run the bot until it is stopped."""
    with (folder / "lags.tsv").open("w") as lags, (folder / "turns.tsv").open("w") as turns:
        build_engine: Callable[[Config], Any] = bot.build_engine

        def build_observed(config: Config) -> Any:
            engine = build_engine(config)
            engine._batcher = ObservedBatcher(engine._batcher.max_rows, engine.prices, turns)
            return engine

        bot.build_engine = build_observed
        lag_recorder = asyncio.create_task(record_lag(lambda late: print(f"{time.perf_counter():.4f}\t{late:.5f}", file=lags)))
        await bot.run_on_discord(settings)
        lag_recorder.cancel()


def main() -> None:
    """Run the bot with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.soak.observed_bot", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    connect_to(options.port)
    settings = Config(
        _env_file=None,
        discord_token="loopback",
        data_dir=options.folder,
        database_url="",
        model_id=options.model,
        tips=False,  # each request has one answer then
    )
    discord.utils.setup_logging(level=logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    asyncio.run(observe(settings, options.folder))


if __name__ == "__main__":
    main()
