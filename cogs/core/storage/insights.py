"""What the database tells operators about all processes: failures, flagged pictures that wait, and usage by server.

Each query reads what an index finds, and returns no more rows than the dashboard shows. Prompts are read only for operators
who log them.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import discord
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from cogs.core.storage.creations import Creation, State
from cogs.core.storage.database import DATABASE_UNREACHABLE, Database
from cogs.core.storage.reviews import ReviewRow
from cogs.core.storage.usage import UsageRow, today

MAX_ROWS: Final = 20  # of each table
FAILURE_WINDOW: Final = timedelta(days=1)


@dataclass(frozen=True)
class FailedRequest:
    """A request that failed; ``kind`` holds no word of the member, but ``prompt`` and ``error`` may."""

    short_id: str
    member: int
    server: int | None
    requested: datetime
    failed: datetime
    kind: str | None
    attempts: int
    prompt: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class HeldRequest:
    """A request whose flagged pictures wait for a moderator, or for its ``decision`` to be carried out."""

    short_id: str
    member: int
    server: int | None
    channel: int | None
    requested: datetime
    flags: tuple[str, ...]
    decision: str | None


@dataclass(frozen=True)
class ServerUsage:
    """The pictures and members of a day in one server; ``server`` is 0 for direct messages."""

    server: int
    day: date
    pictures: int
    members: int


@dataclass(frozen=True)
class Insights:
    """Failures of `FAILURE_WINDOW` by kind, the latest of them, and what waits for moderators."""

    failure_kinds: tuple[tuple[str | None, int], ...]
    failures: tuple[FailedRequest, ...]
    held: tuple[HeldRequest, ...]
    held_count: int


async def read_insights(database: Database, *, with_prompts: bool = False) -> Insights:
    """Read failures and held pictures; raises `DatabaseUnavailableError`."""
    since = discord.utils.time_snowflake(datetime.now(UTC) - FAILURE_WINDOW)
    async with database.reading(DATABASE_UNREACHABLE) as session:
        count = func.count()
        kinds = select(Creation.failure, count).where(Creation.state == State.FAILED, Creation.id > since)
        kinds = kinds.group_by(Creation.failure).order_by(count.desc()).limit(MAX_ROWS)
        held_count = select(count).select_from(Creation).where(Creation.state == State.IN_REVIEW)
        return Insights(
            failure_kinds=tuple((kind, number) for kind, number in (await session.execute(kinds)).all()),
            failures=await _read_failures(session, with_prompts),
            held=await _read_held(session),
            held_count=await session.scalar(held_count) or 0,
        )


async def _read_failures(session: AsyncSession, with_prompts: bool) -> tuple[FailedRequest, ...]:
    columns = Creation.short_id, Creation.owner, Creation.guild_id, Creation.created, Creation.changed, Creation.failure
    query = select(*columns, Creation.attempts, *((Creation.request, Creation.error) if with_prompts else ()))
    rows = await session.execute(query.where(Creation.state == State.FAILED).order_by(Creation.id.desc()).limit(MAX_ROWS))
    return tuple(
        FailedRequest(
            short_id=row.short_id,
            member=row.owner,
            server=row.guild_id,
            requested=row.created,
            failed=row.changed,
            kind=row.failure,
            attempts=row.attempts,
            prompt=(row.request or {}).get("prompt") if with_prompts else None,
            error=row.error if with_prompts else None,
        )
        for row in rows.all()
    )


async def _read_held(session: AsyncSession) -> tuple[HeldRequest, ...]:
    columns = Creation.short_id, Creation.owner, Creation.guild_id, Creation.created, Creation.flags
    query = select(*columns, ReviewRow.channel_id, ReviewRow.decision)
    query = query.outerjoin(ReviewRow, ReviewRow.creation_id == Creation.id).where(Creation.state == State.IN_REVIEW)
    rows = await session.execute(query.order_by(Creation.id).limit(MAX_ROWS))
    return tuple(
        HeldRequest(
            short_id=row.short_id,
            member=row.owner,
            server=row.guild_id,
            channel=row.channel_id,
            requested=row.created,
            flags=tuple(row.flags or ()),
            decision=row.decision,
        )
        for row in rows.all()
    )


async def read_usage(database: Database) -> tuple[ServerUsage, ...]:
    """Return the servers with the most pictures of today and yesterday (UTC).

    It reads the counts of all members of these days, so nobody should ask for it often. Raises `DatabaseUnavailableError`.
    """
    pictures = func.sum(UsageRow.pictures)
    query = select(UsageRow.server, UsageRow.day, pictures, func.count())
    query = query.where(UsageRow.day >= today() - timedelta(days=1)).group_by(UsageRow.server, UsageRow.day)
    async with database.reading(DATABASE_UNREACHABLE) as session:
        rows = (await session.execute(query.having(pictures > 0).order_by(pictures.desc()).limit(2 * MAX_ROWS))).all()
    return tuple(ServerUsage(server, day, int(made), members) for server, day, made, members in rows)
