"""When waiting jobs will be done, estimated for all at once."""

import time
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakKeyDictionary

import discord

from diffusion.serving.interface import ImageEngine
from diffusion.serving.job import Job

KEPT_SECONDS: Final = 1.0  # an estimate takes time in proportion to all jobs, and each of them asks for one


class Forecast:
    """Estimates the ends of jobs and keeps them for `KEPT_SECONDS`."""

    def __init__(self, engine: ImageEngine) -> None:
        self._engine = engine
        self._ends: WeakKeyDictionary[Job, datetime | None] = WeakKeyDictionary()
        self._made = -KEPT_SECONDS

    def end_of(self, job: Job) -> datetime | None:
        """Return when ``job`` will be done, None while the engine does not know."""
        now = time.monotonic()
        if job not in self._ends or now - self._made > KEPT_SECONDS:
            self._made = now
            today = discord.utils.utcnow()
            estimates = self._engine.estimate_completion()
            self._ends = WeakKeyDictionary(
                {each: None if seconds is None else today + timedelta(seconds=seconds) for each, seconds in estimates.items()}
            )
        return self._ends.get(job)
