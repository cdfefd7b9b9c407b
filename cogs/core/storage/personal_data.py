"""All that is kept about one member: giving it out and forgetting it."""

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, inspect, select, update

from cogs.core.request.preferences import Preferences, Scope, to_json
from cogs.core.storage.creations import Creation, Journal, State
from cogs.core.storage.database import Database
from cogs.core.storage.images import Gallery
from cogs.core.storage.preferences import Registry
from cogs.core.storage.quotas import Usage
from cogs.core.storage.reviews import Review

UNREACHED: Final = "I cannot reach my database at the moment. Please try again later."
SECRET: Final = ("token", "application_id")


@dataclass(frozen=True)
class Forgotten:
    """What was deleted: ``creations`` with ``pictures`` of theirs, films left out, of which ``kept`` stay for others."""

    creations: list[Creation]
    reviews: list[Review]
    pictures: int
    kept: int


class PersonalData:
    """Reads and deletes across all tables and the gallery. All methods raise `DatabaseFailed`."""

    def __init__(self, database: Database, journal: Journal, registry: Registry, gallery: Gallery) -> None:
        self._database, self._journal, self._registry, self._gallery = database, journal, registry, gallery

    async def documents(self, member: int) -> tuple[dict[str, bytes], list[str]]:
        """Give what is known about ``member`` as JSON files, and the names of their pictures, newest first.

        Pictures that moderators have not let pass are not among them.
        """
        async with self._database.transaction(UNREACHED) as session:
            creations = await _creations(session, member)
            usage = (await session.scalars(select(Usage).filter_by(member=member))).all()
            decisions = (await session.scalars(select(Review).filter_by(moderator=member))).all()
        shown = [creation for creation in creations if creation.state != State.HELD]
        names = dict.fromkeys(name for creation in shown for name in sorted(creation.files))
        documents = {
            "requests.json": [_columns(creation) for creation in creations],
            "settings.json": to_json(self._registry.of(Scope.MEMBER, member)),
            "usage.json": [_columns(row) for row in usage],
            "decisions.json": [_columns(row) for row in decisions],
        }
        return {name: await asyncio.to_thread(_json, document) for name, document in documents.items()}, list(names)

    async def forget(self, member: int) -> Forgotten:
        """Delete what is known about ``member``, but for how many pictures they made today."""
        async with self._database.transaction(UNREACHED) as session:
            creations = await _creations(session, member)
            ids = select(Creation.id).filter_by(owner=member)
            reviews = list((await session.scalars(select(Review).where(Review.creation_id.in_(ids)))).all())
            quiet: dict[str, Any] = {"execution_options": {"synchronize_session": False}}
            await session.execute(delete(Review).where(Review.creation_id.in_(ids)), **quiet)
            await session.execute(update(Review).filter_by(moderator=member).values(moderator=None), **quiet)
            await session.execute(delete(Creation).filter_by(owner=member), **quiet)
        await self._registry.set(Scope.MEMBER, member, Preferences())
        names = {name for creation in creations for name in creation.files}
        needed = await self._journal.needed(names)
        await self._gallery.delete(names - needed)
        films = {creation.film for creation in creations}
        return Forgotten(creations, reviews, len(names - films), len(needed - films))


async def _creations(session: Any, member: int) -> list[Creation]:
    query = select(Creation).filter_by(owner=member).order_by(Creation.id.desc())
    return list((await session.scalars(query)).all())


def _columns(row: Any) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).columns if column.key not in SECRET}


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1, default=_plain, ensure_ascii=False).encode()


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
