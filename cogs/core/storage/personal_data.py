"""The data that the bot stores about one member: export and deletion."""

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete as sql_delete
from sqlalchemy import inspect, select, update

from cogs.core.request.preferences import Preferences, Scope, to_json
from cogs.core.storage.creations import Creation, CreationStore, State
from cogs.core.storage.database import DATABASE_UNREACHABLE, Database
from cogs.core.storage.images import ImageStore
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.quotas import UsageRow
from cogs.core.storage.reviews import ReviewRow

NOT_EXPORTED: Final = ("token", "application_id")


@dataclass(frozen=True)
class DeletedData:
    """The data that was deleted.

    Of the ``pictures`` (without timelapses), ``kept`` remain because other creations use them.
    """

    creations: list[Creation]
    reviews: list[ReviewRow]
    pictures: int
    kept: int


class PersonalData:
    """Exports and deletes a member's data in all tables and the image store.

    All methods raise `DatabaseUnavailableError`.
    """

    def __init__(
        self, database: Database, creation_store: CreationStore, preference_store: PreferenceStore, image_store: ImageStore
    ) -> None:
        self._database = database
        self._creation_store = creation_store
        self._preference_store = preference_store
        self._image_store = image_store

    async def export(self, member: int) -> tuple[dict[str, bytes], list[str]]:
        """Return the data of ``member``: JSON files by name, and names of images.

        The newest images come first. Pictures in review are left out.
        """
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            creations = await _creations(session, member)
            usage = (await session.scalars(select(UsageRow).filter_by(member=member))).all()
            decisions = (await session.scalars(select(ReviewRow).filter_by(moderator=member))).all()
        reviewed = [creation for creation in creations if creation.state != State.IN_REVIEW]
        names = dict.fromkeys(name for creation in reviewed for name in sorted(creation.files))
        documents = {
            "requests.json": [_columns(creation) for creation in creations],
            "settings.json": to_json(self._preference_store.get(Scope.MEMBER, member)),
            "usage.json": [_columns(row) for row in usage],
            "decisions.json": [_columns(row) for row in decisions],
        }
        return {name: await asyncio.to_thread(_json, document) for name, document in documents.items()}, list(names)

    async def delete(self, member: int) -> DeletedData:
        """Delete the data of ``member``.

        The number of pictures that they made today stays.
        """
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            creations = await _creations(session, member)
            ids = select(Creation.id).filter_by(owner=member)
            reviews = list((await session.scalars(select(ReviewRow).where(ReviewRow.creation_id.in_(ids)))).all())
            options: dict[str, Any] = {"execution_options": {"synchronize_session": False}}
            await session.execute(sql_delete(ReviewRow).where(ReviewRow.creation_id.in_(ids)), **options)
            await session.execute(update(ReviewRow).filter_by(moderator=member).values(moderator=None), **options)
            await session.execute(sql_delete(Creation).filter_by(owner=member), **options)
        await self._preference_store.set(Scope.MEMBER, member, Preferences())
        names = {name for creation in creations for name in creation.files}
        still_used = await self._creation_store.referenced_files(names)
        await self._image_store.delete(names - still_used)
        timelapses = {creation.timelapse for creation in creations}
        return DeletedData(creations, reviews, len(names - timelapses), len(still_used - timelapses))


async def _creations(session: Any, member: int) -> list[Creation]:
    query = select(Creation).filter_by(owner=member).order_by(Creation.id.desc())
    return list((await session.scalars(query)).all())


def _columns(row: Any) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).columns if column.key not in NOT_EXPORTED}


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1, default=_to_plain, ensure_ascii=False).encode()


def _to_plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
