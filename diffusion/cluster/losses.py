"""Find the request that breaks the replicas, and blame none of those that share a replica with it.

A lost replica takes all its requests with it, and nobody can ask it which one it was drawing. Two losses make a request a
suspect. Suspects are drawn one at a time, in calls of their own, so that the next loss has one cause.
"""

from typing import Final

SUSPECT_LOSSES: Final = 2.0  # a first loss may have any cause
LONE_LOSSES: Final = 3.0  # of the only suspect that was being drawn: it is what breaks the replicas
QUEUED_LOSS_SHARE: Final = 0.25  # how much a loss counts while others were still to be drawn before the request


class Losses:
    """The replicas that one request has lost."""

    def __init__(self) -> None:
        self._counted = 0.0
        self._lone = 0.0

    def add(self, place: int | None) -> None:
        """Count a loss; ``place`` is how many pictures the replica was to draw before the request, None if it had begun."""
        share = QUEUED_LOSS_SHARE if place else 1.0
        if self.is_suspect:
            self._lone += share
        self._counted += share

    @property
    def is_suspect(self) -> bool:
        """Whether the request has to be drawn apart from all others."""
        return self._counted >= SUSPECT_LOSSES

    @property
    def is_guilty(self) -> bool:
        """Whether to give the request up."""
        return self._lone >= LONE_LOSSES
