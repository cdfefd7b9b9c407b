"""Every query finds what it needs by an index, so it takes no longer with many rows. ``--rows 1000000 -s`` measures them."""

import random
import time
from datetime import UTC, datetime, timedelta

import discord
import pytest
from sqlalchemy import event, insert, text

from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage.claims import Claims
from cogs.core.storage.creations import Creation, CreationStore, State
from cogs.core.storage.database import Database
from cogs.core.storage.erasure import Erasure
from cogs.core.storage.gallery import Gallery
from cogs.core.storage.images import ImageStore
from cogs.core.storage.insights import read_insights, read_usage
from cogs.core.storage.lease import Lease
from cogs.core.storage.personal_data import PersonalData
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.reports import ReportStore
from cogs.core.storage.reviews import Decision, ReviewRow, ReviewStore
from cogs.core.storage.short_ids import short_id_of
from cogs.core.storage.stars import Period, StarredRow, StarRow, StarStore
from cogs.core.storage.usage import FileRow, QuotaStore, UsageRow
from tests.support.creations import creation

OWNER = 7
ROWS_AT_A_TIME = 2000
LARGE = ("creations", "files", "reviews", "usage", "past_creations", "stars", "starred")
SERVER = 3


@pytest.fixture
async def filled(database_url, tmp_path, pytestconfig):
    """A database with many rows, a twentieth of them of one member."""
    rows = pytestconfig.getoption("rows")
    chance = random.Random(1)
    first = discord.utils.time_snowflake(datetime.now(UTC) - timedelta(days=100))
    template = {column.key: None for column in Creation.__table__.columns}
    plain = creation(1)
    template |= {name: getattr(plain, name) for name in ("channel_id", "application_id", "expires", "request")}
    template |= {"token": "", "private": False, "token_only": False, "language": "en", "spoiler": False}
    template |= {"age_restricted": False, "counted": 0, "attempts": 1, "owner_process": 0}
    template |= {"created": datetime.now(UTC), "changed": datetime.now(UTC)}
    async with Database(database_url) as database:
        for start in range(0, rows, ROWS_AT_A_TIME):
            numbers = range(start, min(rows, start + ROWS_AT_A_TIME))
            made = []
            for number in numbers:
                owner = OWNER if number % 20 == 0 else 100 + chance.randrange(rows // 10 + 1)
                parent = first + chance.randrange(number) if number % 3 == 1 else None
                state = State.IN_REVIEW if number % 5000 == 1 else State.FAILED if number % 50 == 7 else State.DELIVERED
                names = [f"{number:064x}"]
                made.append(
                    template
                    | {"id": first + number, "owner": owner, "parent_id": parent, "state": state}
                    | {"message_id": number + 1, "pictures": names, "short_id": short_id_of(number)}
                )
            async with (
                database.engine.begin() as connection
            ):  # without the time limit of the bot, which writes little at a time
                await connection.execute(insert(Creation), made)
                await connection.execute(insert(FileRow), [{"name": f"{n:064x}", "creation_id": first + n} for n in numbers])
                usage = [{"day": datetime.now(UTC).date(), "member": n, "server": 1, "pictures": 1} for n in numbers]
                await connection.execute(insert(UsageRow), usage)
                reviews = [
                    {
                        "creation_id": first + n,
                        "channel_id": n % 50,
                        "message_id": n,
                        "decision": "approve",
                        "moderator": n % 90,
                    }
                    | {"decided": datetime.now(UTC)}
                    for n in numbers
                    if n % 10 == 0
                ]
                await connection.execute(insert(ReviewRow), reviews)
                given = {"given": datetime.now(UTC)}
                stars = [{"member": OWNER if n % 200 == 0 else 100 + n % 90, "creation_id": first + n} | given for n in numbers]
                await connection.execute(insert(StarRow), stars)
                starred = [{"creation_id": first + n, "guild_id": n % 10, "stars": 1 + n % 7} for n in numbers]
                await connection.execute(insert(StarredRow), starred)
        if database.is_shared:
            async with database.engine.begin() as connection:
                await connection.execute(text("ANALYZE"))
        yield database, first, rows, ImageStore(tmp_path / "pictures")


class Recorder:
    """Explains each statement of the engine, as the database would run it, and times it."""

    def __init__(self, database):
        self.statements = {}
        self._is_on = False
        event.listen(database.engine.sync_engine, "before_cursor_execute", self._record)

    def _record(self, connection, cursor, statement, parameters, context, executemany):
        if self._is_on and not executemany and statement.split()[0] in ("SELECT", "UPDATE", "DELETE"):
            self.statements.setdefault(statement, parameters)

    def __enter__(self):
        self._is_on = True

    def __exit__(self, *_):
        self._is_on = False


async def scans(database, statements):
    """Return the statements that read a whole large table."""
    found = []
    explain = "EXPLAIN" if database.is_shared else "EXPLAIN QUERY PLAN"
    async with database.reading("") as session:
        connection = await session.connection()
        if database.is_shared:  # where an index helps, take it, although the table of a short test is small
            await connection.exec_driver_sql("SET enable_seqscan = off")
        for statement, parameters in statements.items():
            plan = (await connection.exec_driver_sql(f"{explain} {statement}", parameters)).all()
            steps = [str(row[-1]) for row in plan]
            for step in steps:
                is_scan = step.strip(" ->").startswith(("Seq Scan on", "SCAN "))
                if is_scan and "INDEX" not in step and any(f" {table}" in step for table in LARGE):
                    found.append((step, statement))
    return found


async def test_queries_use_an_index_and_end_in_time(filled):
    database, first, rows, image_store = filled
    recorder = Recorder(database)
    lease = Lease(database, "")
    creation_store, claims, gallery = CreationStore(database, lease), Claims(database, lease), Gallery(database)
    quotas, reviews = QuotaStore(database), ReviewStore(database)
    preferences = PreferenceStore(database)
    stars = StarStore(database)
    reports = ReportStore(database, lease)
    personal = PersonalData(database, preferences, image_store)
    await lease.open()
    one = await creation_store.get(first + 1)
    shown = await creation_store.get(first + 2)

    async def export():
        return [len(document.data) async for document in personal.export(OWNER)]

    calls = {
        "get": lambda: creation_store.get(first + rows // 2),
        "get_by_short_id": lambda: creation_store.get_by_short_id(short_id_of(rows // 2)),
        "get_by_message": lambda: creation_store.get_by_message(rows // 2),
        "newest": creation_store.newest,
        "unfinished": creation_store.unfinished,
        "used_files": lambda: creation_store.used_files([f"{n:064x}" for n in range(100)]),
        "forget_messages": lambda: creation_store.forget_messages([rows // 2]),
        "claim_orphans": lambda: claims.claim_orphans(8),
        "held_by_others": lambda: claims.held_by_others(OWNER),
        "count_pending": claims.count_pending,
        "first page": lambda: gallery.page(OWNER),
        "page in the middle": lambda: gallery.page(OWNER, before=first + rows // 2),
        "search that finds nothing": lambda: gallery.page(OWNER, "owl"),
        "suggestions": lambda: gallery.latest(OWNER, "owl", 25),
        "suggestions by id": lambda: gallery.beginning(OWNER, short_id_of(rows // 2)[:3], 25),
        "family": lambda: gallery.family(one),
        "used_today": lambda: quotas.used_today(OWNER),
        "delete_past": quotas.delete_past,
        "undecided reviews": reviews.undecided,
        "reviews of a channel": lambda: reviews.undecided(channel_id=5),
        "unapplied reviews": reviews.unapplied,
        "failures and held pictures": lambda: read_insights(database, with_prompts=True),
        "usage by server": lambda: read_usage(database),
        "report": lambda: reports.publish("{}"),
        "reports": reports.of_others,
        "withdraw the report": reports.withdraw,
        "decide": lambda: reviews.decide(first, Decision.DELETE, 1),
        "give a star": lambda: stars.add(5, shown),
        "take it back": lambda: stars.remove(5, shown.id),
        "favourites": lambda: stars.favourites(OWNER, (SERVER, 8)),
        "search of favourites": lambda: stars.favourites(OWNER, (None, 8), "owl", edge=first + rows // 2),
        "gallery of a week": lambda: stars.ranked(SERVER, Period.WEEK),
        "gallery of all time": lambda: stars.ranked(SERVER, Period.ALL),
        "withdraw from the starboard": lambda: personal.erasure.withdraw([rows // 2]),
        "preferences": lambda: preferences.set(Scope.MEMBER, OWNER, Preferences(steps=7)),
        "add": lambda: creation_store.add(creation(first + rows + 5, owner=8, counted=1)),
        "export": export,
        "forget": lambda: personal.delete(OWNER, first + rows),
        "old requests": lambda: Erasure(database, image_store).erase_finished(first + 500),
        "forget a server": lambda: Erasure(database, image_store).erase_server(12345),
    }
    kind = "PostgreSQL" if database.is_shared else "SQLite"
    for name, call in calls.items():
        began = time.perf_counter()
        with recorder:
            await call()
        print(f"\n| {kind} | {rows} | {name} | {time.perf_counter() - began:.3f} s |", end="")
    assert await scans(database, recorder.statements) == []
    assert (await gallery.page(OWNER)).creations == []
