"""The data that the bot stores about one member: export and deletion."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import inspect, select

from cogs.core.request.preferences import Preferences, Scope, to_json
from cogs.core.storage.creations import Creation, State
from cogs.core.storage.database import DATABASE_UNREACHABLE, Database, DatabaseUnavailableError
from cogs.core.storage.erasure import Erased, Erasure
from cogs.core.storage.images import ImageStore
from cogs.core.storage.jam_rows import CrownRow, JamEntryRow, JamRow, JamVoteRow
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.reviews import ReviewRow
from cogs.core.storage.stars import StarRow
from cogs.core.storage.usage import UsageRow, used_files
from diffusion.errors import DarkroomError

NOT_EXPORTED: Final = ("token", "application_id")
REQUESTS_PER_STEP: Final = 100  # read and written at a time, so that others get their turn
REQUESTS_PER_DOCUMENT: Final = 5000


@dataclass(frozen=True)
class Document:
    """A part of an export: a JSON file, and the pictures that it names first."""

    name: str
    data: bytes
    pictures: tuple[str, ...] = ()


class PersonalData:
    """Exports and deletes a member's data in all tables and the image store.

    All methods raise `DatabaseUnavailableError`.
    """

    def __init__(self, database: Database, preference_store: PreferenceStore, image_store: ImageStore) -> None:
        self._database = database
        self._preference_store = preference_store
        self.erasure = Erasure(database, image_store)

    async def export(self, member: int) -> AsyncIterator[Document]:
        """Yield the data of ``member``, the newest requests first.

        Pictures in review are left out.
        """
        tables = (
            ("usage", UsageRow, UsageRow.member),
            ("decisions", ReviewRow, ReviewRow.moderator),
            ("favourites", StarRow, StarRow.member),
            ("jams", JamRow, JamRow.starter),
            ("jam_entries", JamEntryRow, JamEntryRow.member),
            ("jam_votes", JamVoteRow, JamVoteRow.voter),
            ("crowns", CrownRow, CrownRow.member),
        )
        for name, table, column in tables:
            rows = await self._database.scalars(select(table).where(column == member), DATABASE_UNREACHABLE)
            yield Document(f"{name}.json", await asyncio.to_thread(_json, [_columns(row) for row in rows]))
        yield Document("settings.json", _json(to_json(self._preference_store.get(Scope.MEMBER, member))))
        number = 1
        before: int | None = None
        while number == 1 or before is not None:
            name = "requests.json" if number == 1 else f"requests-{number}.json"
            document, before = await self._requests(member, before, name)
            if number == 1 or document.data != b"[]":
                yield document
            number += 1

    async def _requests(self, member: int, before: int | None, name: str) -> tuple[Document, int | None]:
        """Return up to `REQUESTS_PER_DOCUMENT` requests, and the id of the last one if there may be more."""
        texts: list[bytes] = []
        pictures: dict[str, None] = {}
        count = 0
        query = select(Creation).where(Creation.owner == member).order_by(Creation.id.desc()).limit(REQUESTS_PER_STEP)
        while count < REQUESTS_PER_DOCUMENT:
            step = query if before is None else query.where(Creation.id < before)
            creations = await self._database.scalars(step, DATABASE_UNREACHABLE)
            for creation in creations:
                if creation.state != State.IN_REVIEW:
                    pictures |= dict.fromkeys(sorted(creation.files))
            if creations:
                columns = [_columns(creation) for creation in creations]
                texts.append((await asyncio.to_thread(_json, columns))[1:-1])
            count += len(creations)
            before = creations[-1].id if creations else None
            if len(creations) < REQUESTS_PER_STEP:
                before = None
                break
        return Document(name, b"[" + b",".join(texts) + b"]", tuple(pictures)), before

    async def note_deletion(self, member: int, before_id: int) -> None:
        """Write down that ``member`` wants to be forgotten, so that it will happen after a crash, too."""
        await self.erasure.note_member(member, before_id)

    async def delete(self, member: int, before_id: int) -> Erased:
        """Delete the data of ``member``: settings, and requests with ids up to ``before_id``.

        The number of pictures that they made today stays.
        """
        await self.erasure.note_member(member, before_id)
        await self._preference_store.set(Scope.MEMBER, member, Preferences())
        erased = await self.erasure.erase_member(member, before_id)
        erased.kept = len(await used_files(self._database, erased.pictures))
        try:
            await self.erasure.delete_files()
            await self._database.erase_deleted()
        except DatabaseUnavailableError:
            raise
        except DarkroomError:  # the image store has logged it
            erased.is_complete = False
        return erased


def _columns(row: Any) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).columns if column.key not in NOT_EXPORTED}


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1, default=_to_plain, ensure_ascii=False).encode()


def _to_plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
