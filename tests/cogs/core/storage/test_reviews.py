"""Which pictures wait for a moderator's word, in every database."""

import asyncio
from datetime import timedelta

import pytest

import cogs.core.storage.reviews
from cogs.core.storage.creations import CreationStore, State
from cogs.core.storage.database import Database, DatabaseUnavailableError
from cogs.core.storage.reviews import Decision, ReviewStore
from tests.support.creations import creation

FEW, MANY = 7, 2**62


async def test_decide_accepts_the_first_decision_only(database_url):
    async with Database(database_url) as database:
        reviews = ReviewStore(database)
        await reviews.create(MANY, 5)
        told = await asyncio.gather(*(reviews.decide(MANY, [*Decision][member % 3], member) for member in range(8)))
        (winner,) = [review for review, first in told if first]
        assert {(review.decision, review.moderator) for review, _ in told} == {(winner.decision, winner.moderator)}
        assert winner.decided is not None


async def test_undecided_finds_reviews_by_channel_or_message(database_url):
    async with Database(database_url) as database:
        reviews = ReviewStore(database)
        review = await reviews.create(FEW, 5)
        await reviews.create(MANY, 6)
        await reviews.set_message(review, 2**61)
        await reviews.create(8, 6)
        await reviews.decide(8, Decision.APPROVE, 1)
    async with Database(database_url) as database:
        reviews = ReviewStore(database)
        assert [review.creation_id for review in await reviews.undecided(message_id=2**61)] == [FEW]
        assert [review.creation_id for review in await reviews.undecided(channel_id=6)] == [MANY]
        assert len(await reviews.undecided()) == 2
        assert (await reviews.get(FEW)).message_id == 2**61 and await reviews.get(9) is None


async def test_decide_without_a_review_returns_none(database_url):
    async with Database(database_url) as database:
        assert await ReviewStore(database).decide(1, Decision.DELETE, None) == (None, False)


async def test_undecided_reports_database_errors(tmp_path):
    async with Database(f"sqlite+aiosqlite:///{tmp_path / 'darkroom.sqlite'}") as database:
        async with database.sessions.begin() as session:
            await (await session.connection()).exec_driver_sql("DROP TABLE reviews")
        with pytest.raises(DatabaseUnavailableError, match="try again later"):
            await ReviewStore(database).undecided()


async def test_unapplied_finds_old_decisions_of_held_creations(database_url, monkeypatch):
    monkeypatch.setattr(cogs.core.storage.reviews, "DECISION_GRACE", timedelta(0))
    async with Database(database_url) as database:
        creation_store, reviews = CreationStore(database), ReviewStore(database)
        for id, state in ((FEW, State.IN_REVIEW), (8, State.DELIVERED), (9, State.IN_REVIEW)):
            await creation_store.add(creation(id, state=state))
            await reviews.create(id, 5)
        await reviews.decide(FEW, Decision.APPROVE, 1)
        await reviews.decide(8, Decision.APPROVE, 1)
        assert await reviews.unapplied() == [FEW]
        monkeypatch.setattr(cogs.core.storage.reviews, "DECISION_GRACE", timedelta(minutes=5))
        assert await reviews.unapplied() == []  # somebody may be about to do it
