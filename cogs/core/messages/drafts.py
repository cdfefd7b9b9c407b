"""What members typed into something that was refused, kept for a while so that they need not type it again."""

import asyncio
from typing import Final, Generic, TypeVar

T = TypeVar("T")
MAX_DRAFTS: Final = 200
DRAFT_SECONDS: Final = 900.0  # as long as the interaction that was refused


class Drafts(Generic[T]):
    """At most `MAX_DRAFTS` drafts of members, each kept for `DRAFT_SECONDS`."""

    def __init__(self) -> None:
        self._drafts: dict[tuple[int, int], T] = {}  # by member and number

    def __len__(self) -> int:
        return len(self._drafts)

    def keep(self, member: int, number: int, draft: T) -> None:
        """Keep ``draft``; the oldest one makes room for it."""
        self._drafts[member, number] = draft
        asyncio.get_running_loop().call_later(DRAFT_SECONDS, self._expire, member, number, draft)
        if len(self._drafts) > MAX_DRAFTS:
            del self._drafts[next(iter(self._drafts))]

    def _expire(self, member: int, number: int, draft: T) -> None:
        if self._drafts.get((member, number)) is draft:  # otherwise a newer one
            self.drop(member, number)

    def get(self, member: int, number: int) -> T | None:
        """Return a draft, None if it is no longer kept."""
        return self._drafts.get((member, number))

    def drop(self, member: int, number: int) -> None:
        """Delete a draft, if it is kept."""
        self._drafts.pop((member, number), None)

    def forget(self, member: int) -> None:
        """Delete the drafts of ``member``."""
        for key in [key for key in self._drafts if key[0] == member]:
            del self._drafts[key]
