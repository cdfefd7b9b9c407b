"""Find the request that crashes the process, and blame nobody else.

Pure: it knows neither a clock nor files.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

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
