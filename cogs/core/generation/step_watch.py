"""Watch the engine's steps, find the request that crashes the process, and blame nobody else."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from cogs.core.storage.step_journal import StepJournal
from diffusion.serving.interface import ImageEngine

log = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 60.0
COMPANY_CRASHES: Final = 2  # a first crash may have any cause; after the second, those in both steps are suspects
LONE_CRASHES: Final = 2  # a suspect whose steps alone crash so often is guilty, if it was blamed for `MIN_CRASHES` in all
MIN_CRASHES: Final = 5


@dataclass(frozen=True)
class Blame:
    """The requests whose step was under way at the latest crash.

    ``crashes`` counts, for each of them, the crashes in a row in which it was in that step, and ``lone`` those in which it
    was alone there.
    """

    crashes: Mapping[int, int] = field(default_factory=dict)
    lone: Mapping[int, int] = field(default_factory=dict)

    def after_crash(self, step: Collection[int]) -> Self:
        """Return the blame after a crash during a step of the requests ``step``.

        Requests that were not in it are cleared. A crash outside of any step blames nobody.
        """
        if not step:
            return self
        crashes = {request: self.crashes.get(request, 0) + 1 for request in step}
        lone = {request: self.lone.get(request, 0) + 1 for request in step} if len(step) == 1 else {}
        return type(self)(crashes, lone)

    def without(self, request: int) -> Self:
        """Return the blame without ``request``, which has ended."""
        if request not in self.crashes:
            return self
        crashes = {other: count for other, count in self.crashes.items() if other != request}
        return type(self)(crashes, {other: count for other, count in self.lone.items() if other != request})

    @property
    def guilty(self) -> frozenset[int]:
        """The requests to give up."""
        return frozenset(
            request
            for request, count in self.lone.items()
            if count >= LONE_CRASHES and self.crashes.get(request, 0) >= MIN_CRASHES
        )

    @property
    def companies(self) -> dict[int, int]:
        """The suspects, each with the number of its company: 1, 2.

        Each half of the suspects steps apart from all others, so that the next crash clears the other half.
        """
        suspects = sorted(request for request, count in self.crashes.items() if count >= COMPANY_CRASHES)
        middle = (len(suspects) + 1) // 2
        return {request: 1 if index < middle else 2 for index, request in enumerate(suspects)}


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
        self._journal.crashes, self._journal.lone = self.blame.crashes, self.blame.lone
        self._journal.write([])
        engine.before_steps.append(self._journal.write)

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
        self._journal.crashes, self._journal.lone = self.blame.crashes, self.blame.lone

    def close(self) -> None:
        """Record that the process ends in order."""
        self._engine.before_steps.remove(self._journal.write)
        self._journal.crashes = self._journal.lone = {}
        self._journal.write([])
        self._journal.close()
