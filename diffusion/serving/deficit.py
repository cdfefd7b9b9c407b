"""Deficit round-robin: who is next, so that all get equal shares of a resource.

It uses neither tensors nor a clock.
"""

from collections.abc import Hashable
from typing import Generic, Self, TypeVar

Flow = TypeVar("Flow", bound=Hashable)


class DeficitRoundRobin(Generic[Flow]):
    """Shares time between flows whose turns differ in cost.

    Shreedhar and Varghese 1995, with a quantum that goes to 0: all waiting flows earn credit at one rate, and the first that
    can pay for its next turn takes it. A flow that leaves loses its credit but keeps its debt.
    """

    def __init__(self) -> None:
        self._earned = 0.0  # by a flow that has waited from the beginning
        self._spent: dict[Flow, float] = {}  # or forgone before the flow joined
        self._joined: set[Flow] = set()

    def join(self, flow: Flow) -> None:
        """Let ``flow`` earn credit from now on; does nothing if it does already."""
        if flow not in self._joined:
            self._joined.add(flow)
            self._spent[flow] = max(self._earned, self._spent.get(flow, 0.0))

    def leave(self, flow: Flow) -> None:
        """Remove a flow that waits no more."""
        self._joined.discard(flow)
        self._spent = {other: spent for other, spent in self._spent.items() if other in self._joined or spent > self._earned}

    def due(self, flow: Flow, cost: float) -> float:
        """Return how much a flow must have earned for ``flow`` to pay ``cost``.

        The flow with the least is next.
        """
        return self._spent[flow] + cost

    def pay(self, flow: Flow, cost: float, in_turn: bool = True) -> None:
        """Charge ``flow`` for a turn; out of turn, it gets into debt."""
        self._spent[flow] += cost
        if in_turn:
            self._earned = max(self._earned, self._spent[flow])

    def copy(self) -> Self:
        """Return an independent copy."""
        copy = type(self)()
        copy._earned = self._earned
        copy._spent = self._spent.copy()
        copy._joined = self._joined.copy()
        return copy
