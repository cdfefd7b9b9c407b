"""What operators read about failures, held pictures and usage: enough to act on, and no prompt that the log may not hold."""

from datetime import UTC, datetime, timedelta

import discord
import pytest

from cogs.core.storage.creations import CreationStore, State, kind_of
from cogs.core.storage.database import Database
from cogs.core.storage.insights import MAX_ROWS, read_insights, read_usage
from cogs.core.storage.lease import Lease
from cogs.core.storage.reports import Report, ReportStore
from cogs.core.storage.reviews import ReviewStore
from cogs.core.storage.usage import QuotaStore
from diffusion.errors import DarkroomError, InvalidRequestError, SeveralInvalidError
from tests.support.creations import creation
from tests.support.databases import new_sqlite

WORDS = DarkroomError("These words are not allowed: {words}.", words="purple cow")


@pytest.fixture
async def database(tmp_path):
    async with Database(new_sqlite(tmp_path / "darkroom.sqlite")) as database:
        yield database


def snowflake(number):
    return discord.utils.time_snowflake(datetime.now(UTC) - timedelta(hours=1)) + number


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WORDS, "These words are not allowed: {words}."),
        (
            SeveralInvalidError([InvalidRequestError("steps", "{field} is wrong"), InvalidRequestError("size", "no")]),
            "{field} is wrong",
        ),
        (RuntimeError("purple cow"), "RuntimeError"),
        ("The message was deleted.", "The message was deleted."),
    ],
    ids=["words", "several", "library", "text"],
)
def test_kind_of_a_failure_holds_no_words_of_members(error, kind):
    assert kind_of(error) == kind


async def test_insights_count_failures_by_kind_and_keep_prompts_back(database):
    store = CreationStore(database)
    for number in range(MAX_ROWS + 2):
        failing = creation(snowflake(number), guild_id=5)
        await store.add(failing)
        await store.finish(failing, State.FAILED, WORDS if number else DarkroomError("The disk is full."))
    held = creation(snowflake(90), guild_id=5)
    await store.add(held)
    await store.update(held, state=State.IN_REVIEW, flags={"nsfw": 0.9})
    await ReviewStore(database).create(held.id, 77)

    found = await read_insights(database)
    assert found.failure_kinds == (("These words are not allowed: {words}.", MAX_ROWS + 1), ("The disk is full.", 1))
    assert len(found.failures) == MAX_ROWS and found.failures[0].server == 5
    assert "fox" not in repr(found) and "cow" not in repr(found)
    (waiting,) = found.held
    assert (waiting.short_id, waiting.channel, waiting.flags, waiting.decision) == (held.short_id, 77, ("nsfw",), None)
    assert found.held_count == 1
    shown = await read_insights(database, with_prompts=True)
    assert (shown.failures[0].prompt, shown.failures[0].error) == ("fox", "These words are not allowed: purple cow.")


async def test_usage_adds_the_members_of_a_server_and_sorts_by_pictures(database):
    quotas = QuotaStore(database)
    for member, server, pictures in ((1, 5, 2), (2, 5, 3), (1, None, 7), (3, 6, 0)):
        await quotas.charge(member, server, pictures)
    found = [(usage.server, usage.pictures, usage.members) for usage in await read_usage(database)]
    assert found == [(0, 7, 1), (5, 5, 2)]


async def test_processes_read_the_reports_of_others_with_their_age(database):
    """SQLite stands for PostgreSQL: the statements are the same."""
    first, second = (ReportStore(database, Lease(database, name)) for name in ("0-3", "4-7"))
    for store in (first, second, first):
        await store.publish(f"status {store._lease.name}")
    (report,) = await first.of_others()
    assert report == Report("4-7", report.age, "status 4-7") and 0 <= report.age < 3600
    restarted = ReportStore(database, Lease(database, "4-7"))
    await restarted.publish("again")
    assert [report.status for report in await first.of_others()] == ["again"]
    await second.withdraw()  # that of the process before, which is replaced
    assert len(await first.of_others()) == 1
    await restarted.withdraw()
    assert await first.of_others() == []
