"""The moderators' reviews of flagged pictures.

The database makes sure that each is decided once.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BigInteger, String, select, update
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.storage.creations import Creation, State
from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database, UtcDateTime

DECISION_GRACE: Final = timedelta(minutes=5)  # within which a decision is normally applied


class Decision(StrEnum):
    """The decision of a moderator."""

    APPROVE = "approve"
    SPOILER = "spoiler"
    DELETE = "delete"


class ReviewRow(Base):
    """The review of one creation.

    ``message_id`` is the message in the moderators' channel, once it is posted. ``moderator`` made the ``decision``; it is None
    if the bot did, for example because the channel was deleted.
    """

    __tablename__ = "reviews"

    creation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    channel_id: Mapped[int] = mapped_column(BigInteger, index=True)
    message_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    decision: Mapped[str | None] = mapped_column(String(10), index=True)
    moderator: Mapped[int | None] = mapped_column(BigInteger, index=True)
    decided: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ReviewStore:
    """Reads and writes reviews. All methods raise `DatabaseUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.message_watchers: list[Callable[[int], None]] = []  # called with each new message of a review

    async def get(self, creation_id: int) -> ReviewRow | None:
        """Return the review of a creation, if there is one."""
        found = await self._database.scalars(select(ReviewRow).filter_by(creation_id=creation_id), DATABASE_UNREACHABLE)
        return next(iter(found), None)

    async def create(self, creation_id: int, channel_id: int) -> ReviewRow:
        """Begin the review of a creation in a channel, before its message is posted there."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            return await session.merge(ReviewRow(creation_id=creation_id, channel_id=channel_id))

    async def set_message(self, review: ReviewRow, message_id: int | None) -> None:
        """Record the message of ``review``; None if it was deleted."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await session.execute(update(ReviewRow).filter_by(creation_id=review.creation_id).values(message_id=message_id))
        review.message_id = message_id
        if message_id is not None:
            for watcher in self.message_watchers:
                watcher(message_id)

    async def decide(self, creation_id: int, decision: Decision, moderator: int | None) -> tuple[ReviewRow | None, bool]:
        """Store ``decision`` unless there is one; return the review.

        Also returns whether this decision is the one that counts.
        """
        undecided = update(ReviewRow).where(ReviewRow.creation_id == creation_id, ReviewRow.decision.is_(None))
        values = {"decision": decision, "moderator": moderator, "decided": datetime.now(UTC)}
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            updated: Any = await session.execute(undecided.values(**values), execution_options={"synchronize_session": False})
            return await session.get(ReviewRow, creation_id), updated.rowcount == 1

    async def undecided(self, **columns: Any) -> list[ReviewRow]:
        """Return the reviews without a decision whose ``columns`` have these values."""
        query = select(ReviewRow).where(ReviewRow.decision.is_(None)).filter_by(**columns)
        return list(await self._database.scalars(query, DATABASE_UNREACHABLE))

    async def unapplied(self) -> list[int]:
        """Return the creations whose decision was not applied within `DECISION_GRACE`."""
        before = datetime.now(UTC) - DECISION_GRACE
        in_review = select(Creation.id).where(Creation.state == State.IN_REVIEW)
        query = select(ReviewRow.creation_id).where(ReviewRow.decided < before, ReviewRow.creation_id.in_(in_review))
        return list(await self._database.scalars(query, DATABASE_UNREACHABLE))
