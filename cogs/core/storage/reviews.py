"""Which pictures wait for the word of a moderator, and who said what: in the database, so that each is decided once."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BigInteger, String, select, update
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.storage.creations import Creation, State
from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database, UtcDateTime

DECISION_GRACE: Final = timedelta(minutes=5)  # that a decision takes at most to be acted on


class Decision(StrEnum):
    """What a moderator says."""

    APPROVE = "approve"
    SPOILER = "spoiler"
    DELETE = "delete"


class ReviewRow(Base):
    """A held creation: ``message_id`` is the message that asks the moderators, once there is one in the channel.

    ``moderator`` is who made the ``decision``; nobody where it made itself, as when the channel was deleted.
    """

    __tablename__ = "reviews"

    creation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    channel_id: Mapped[int] = mapped_column(BigInteger, index=True)
    message_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    decision: Mapped[str | None] = mapped_column(String(10))
    moderator: Mapped[int | None] = mapped_column(BigInteger)
    decided: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ReviewStore:
    """The table of reviews. All methods raise `DatabaseUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, creation_id: int) -> ReviewRow | None:
        """Give the review of a creation, if it was ever held."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            return await session.get(ReviewRow, creation_id)

    async def create(self, creation_id: int, channel_id: int) -> ReviewRow:
        """Note that a creation is to be decided on in a channel, before the moderators are asked."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            return await session.merge(ReviewRow(creation_id=creation_id, channel_id=channel_id))

    async def set_message(self, review: ReviewRow, message_id: int | None) -> None:
        """Note which message asks the moderators; None where it is gone."""
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await session.execute(update(ReviewRow).filter_by(creation_id=review.creation_id).values(message_id=message_id))
        review.message_id = message_id

    async def decide(self, creation_id: int, decision: Decision, moderator: int | None) -> tuple[ReviewRow | None, bool]:
        """Write ``decision`` down unless there is one already; give what holds now and whether it is this."""
        first = update(ReviewRow).where(ReviewRow.creation_id == creation_id, ReviewRow.decision.is_(None))
        values = {"decision": decision, "moderator": moderator, "decided": datetime.now(UTC)}
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            done: Any = await session.execute(first.values(**values), execution_options={"synchronize_session": False})
            return await session.get(ReviewRow, creation_id), done.rowcount == 1

    async def undecided(self, **where: Any) -> list[ReviewRow]:
        """Give those without a decision whose columns are as ``where`` says."""
        query = select(ReviewRow).where(ReviewRow.decision.is_(None)).filter_by(**where)
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            return list((await session.scalars(query)).all())

    async def unapplied(self) -> list[int]:
        """Give the ids of creations that are held although a decision was made a while ago."""
        before = datetime.now(UTC) - DECISION_GRACE
        held = select(Creation.id).where(Creation.state == State.IN_REVIEW)
        query = select(ReviewRow.creation_id).where(ReviewRow.decided < before, ReviewRow.creation_id.in_(held))
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            return list((await session.scalars(query)).all())
