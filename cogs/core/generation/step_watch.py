"""Watch the engine's steps, and say which requests may be what crashes the process."""

import logging
from collections.abc import Sequence
from typing import Final

from cogs.core.generation.suspects import COMPANY_CRASHES, Blame
from cogs.core.storage.step_journal import StepJournal, StepRecord
from diffusion.serving.interface import ImageEngine
from diffusion.serving.job import Job

log = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 60.0


class StepWatch:
    """Writes each step of ``engine`` to ``journal``; reads there at which one the last run ended.

    A job's ``label`` is the id of its creation.
    """

    def __init__(self, engine: ImageEngine, journal: StepJournal) -> None:
        self._engine = engine
        self._journal = journal
        last = journal.read()
        self.blame = Blame(last.crashes, last.lone).after_crash(last.step)
        self._companies = self.blame.companies
        if last.step:
            log.warning(
                "the last run ended during a step of %s; suspects: %s; guilty: %s",
                list(last.step),
                list(self._companies),
                list(self.blame.guilty),
            )
        self._record([])
        engine.before_steps.append(self._record)

    def company(self, creation_id: int) -> int | None:
        """Return the number of the suspects with which a creation may share steps."""
        return self._companies.get(creation_id)

    def pause(self, creation_id: int) -> float:
        """Return the seconds that a suspect waits before it is drawn again.

        Others are delivered meanwhile. The second company waits longer, so that both do not begin at once.
        """
        company = self.company(creation_id)
        if company is None:
            return 0.0
        crashes = self.blame.crashes[creation_id] - COMPANY_CRASHES
        return min(company * FIRST_PAUSE_SECONDS * 2.0**crashes, MAX_PAUSE_SECONDS)

    def is_guilty(self, creation_id: int) -> bool:
        """Whether a creation has crashed the process by itself again and again."""
        return creation_id in self.blame.guilty

    def clear(self, creation_id: int) -> None:
        """Forget a creation that has ended."""
        self.blame = self.blame.without(creation_id)

    def close(self) -> None:
        """Record that the process ends in order."""
        self._engine.before_steps.remove(self._record)
        self._journal.write(StepRecord())
        self._journal.close()

    def _record(self, jobs: Sequence[Job]) -> None:
        step = [job.label for job in jobs if isinstance(job.label, int)]
        self._journal.write(StepRecord(step, self.blame.crashes, self.blame.lone))
