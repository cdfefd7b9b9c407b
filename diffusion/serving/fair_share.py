"""Fair queueing: who is next, so that all get equal shares and nobody waits for work that is longer.

It uses neither tensors nor a clock.
"""

from collections.abc import Hashable
from typing import Generic, Self, TypeVar

Flow = TypeVar("Flow", bound=Hashable)


class FairShare(Generic[Flow]):
    """Orders the jobs of flows by when they would end if all flows shared the resource equally.

    Whoever works in this order ends every job as soon as equal sharing would, and most of them sooner (Friedman and Henderson
    2003, "Fairness and efficiency in web server protocols"). Short jobs are due before long ones. Everything that comes later
    is due later in the end, so nothing waits forever.
    """

    def __init__(self) -> None:
        self._received = 0.0  # by a flow that has had work from the beginning, if shares are equal
        self._due: dict[Flow, float] = {}  # when the jobs of a flow so far are due, in terms of `_received`
        self._joined: set[Flow] = set()

    def join(self, flow: Flow) -> None:
        """Let ``flow`` queue jobs from now on; does nothing if it does already."""
        if flow not in self._joined:
            self._joined.add(flow)
            self._due[flow] = max(self._received, self._due.get(flow, 0.0))

    def leave(self, flow: Flow) -> None:
        """Remove a flow that has queued its last job."""
        self._joined.discard(flow)
        self._due = {other: due for other, due in self._due.items() if other in self._joined or due > self._received}

    def due(self, flow: Flow, cost: float) -> float:
        """Return when the next job of ``flow`` is due if it costs ``cost``; the least is first."""
        return self._due[flow] + cost

    def take(self, flow: Flow, cost: float) -> float:
        """Take the next job of ``flow``, and return when it is due."""
        self._due[flow] += cost
        return self._due[flow]

    def give_back(self, flow: Flow, cost: float) -> None:
        """Let the next jobs of ``flow`` be due earlier, because ``cost`` of the taken ones is not needed."""
        if flow in self._due:
            self._due[flow] = max(self._received, self._due[flow] - cost)

    def work(self, cost: float, flows: int) -> None:
        """Record work for some of all ``flows`` that have any."""
        self._received += cost / flows

    def copy(self) -> Self:
        """Return an independent copy."""
        copy = type(self)()
        copy._received = self._received
        copy._due = self._due.copy()
        copy._joined = self._joined.copy()
        return copy
