"""What was made: a member's own pictures page by page, and the family of one."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import or_, select, update

from cogs.core.request.options import clean
from cogs.core.storage.creations import Creation, State
from cogs.core.storage.database import Database

PAGE: Final = 5
ANCESTORS: Final = 10
FAMILY: Final = 60  # relatives in all
SEARCHED: Final = (("prompt",), ("morph_to",), *(("branches", branch, 1) for branch in range(3)))  # paths of words


@dataclass(frozen=True)
class Page:
    """Some of a member's creations, newest first, and whether there are ``newer`` and ``older`` ones."""

    creations: list[Creation]
    newer: bool = False
    older: bool = False


class Archive:
    """Reads the creations that were delivered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, owner: int, search: str = "", before: int | None = None, after: int | None = None) -> Page:
        """Give those of ``owner`` whose prompt holds ``search``: the latest, or those next to an id.

        Raises `DatabaseUnavailableError`.
        """
        query = _own(owner, search).limit(PAGE + 1)
        if after is not None:
            found = await self._read(query.where(Creation.id > after).order_by(Creation.id))
            return Page(found[:PAGE][::-1], newer=len(found) > PAGE, older=True)
        if before is not None:
            query = query.where(Creation.id < before)
        found = await self._read(query.order_by(Creation.id.desc()))
        return Page(found[:PAGE], newer=before is not None, older=len(found) > PAGE)

    async def latest(self, owner: int, search: str, most: int) -> list[Creation]:
        """Give up to ``most`` of ``owner`` whose prompt holds ``search``, newest first; raises `DatabaseUnavailableError`."""
        return await self._read(_own(owner, search).order_by(Creation.id.desc()).limit(most))

    async def family(self, creation: Creation) -> list[Creation]:
        """Give ``creation``, its ancestors, and then what descends from the oldest of them, as far as there is room.

        Raises `DatabaseUnavailableError`.
        """
        family = {creation.id: creation}
        oldest = creation
        while oldest.parent_id and oldest.parent_id not in family and len(family) <= ANCESTORS:
            parents = await self._read(select(Creation).where(Creation.id == oldest.parent_id))
            if not parents:
                break
            oldest = family[parents[0].id] = parents[0]
        generation = list(family)
        while generation and len(family) < FAMILY:
            children = select(Creation).where(Creation.parent_id.in_(generation), Creation.state == State.DELIVERED)
            found = await self._read(
                children.where(Creation.id.not_in(list(family))).order_by(Creation.id).limit(FAMILY - len(family))
            )
            family |= {child.id: child for child in found}
            generation = [child.id for child in found]
        return list(family.values())

    async def withdraw(self, messages: Collection[int]) -> None:
        """Note that ``messages`` were deleted: what they showed is their owner's alone from now on. Raises `DatabaseUnavailableError`."""
        query = update(Creation).where(Creation.message_id.in_(messages), Creation.state == State.DELIVERED)
        async with self._database.transaction("Deleted messages could not be noted.") as session:
            await session.execute(query.values(message_id=None), execution_options={"synchronize_session": False})

    async def _read(self, query: Any) -> list[Creation]:
        async with self._database.transaction(
            "I cannot look up what was made at the moment. Please try again later."
        ) as session:
            return list((await session.scalars(query)).all())


def _own(owner: int, search: str) -> Any:
    query = select(Creation).where(Creation.owner == owner, Creation.state == State.DELIVERED)
    search = clean(search)  # as what is searched was, and what no database takes is out
    if not search:
        return query
    return query.where(or_(*(Creation.request[path].as_string().icontains(search, autoescape=True) for path in SEARCHED)))
