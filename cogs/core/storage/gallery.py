"""What members look up: their pictures page by page, a search, and how pictures are related.

Each statement reads a bounded number of rows, however many there are.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import BigInteger, Select, and_, or_, select
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.request.prompt import clean
from cogs.core.storage.creations import UNFINISHED_STATES, Creation, CreationStoreError, State
from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database
from cogs.core.storage.short_ids import LENGTH, SIGNS, read_beginning

PAGE_SIZE: Final = 5
MAX_ANCESTORS: Final = 10
MAX_FAMILY: Final = 60  # creations
ROWS_PER_SEARCH: Final = 2000  # a search reads the prompts of so many creations at a time
MAX_SEARCHED: Final = 100_000
MAX_SUGGESTION_SEARCHED: Final = 10_000  # a suggestion has to come within three seconds
LEAST_TYPED: Final = 3  # characters of a short id, which few pictures share
SEARCH_PATHS: Final = (("prompt",), ("morph_to",), *(("branches", branch, 1) for branch in range(3)))  # in `Creation.request`


class PastCreationRow(Base):
    """What is left of a creation that the operator keeps no longer: its place in the lineage."""

    __tablename__ = "past_creations"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    parent_id: Mapped[int | None] = mapped_column(BigInteger, index=True)


@dataclass(frozen=True)
class Page:
    """A page of a member's creations, newest first.

    ``newer`` and ``older`` are whether there are more of them.
    """

    creations: list[Creation]
    newer: bool = False
    older: bool = False


class Gallery:
    """Reads finished creations. All methods raise `CreationStoreError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, owner: int, search: str = "", before: int | None = None, after: int | None = None) -> Page:
        """Return a page of the delivered creations of ``owner``.

        Their prompt contains ``search``. It is the newest page, or the one next to the id ``before`` (older) or ``after``
        (newer).
        """
        edge = before if after is None else after
        found = await self._find(owner, search, PAGE_SIZE + 1, edge=edge, is_newer=after is not None)
        if after is not None:
            return Page(found[:PAGE_SIZE][::-1], newer=len(found) > PAGE_SIZE, older=True)
        return Page(found[:PAGE_SIZE], newer=before is not None, older=len(found) > PAGE_SIZE)

    async def has_any(self, owner: int) -> bool:
        """Return whether ``owner`` has a delivered creation."""
        query = select(Creation.id).where(Creation.owner == owner, Creation.state == State.DELIVERED)
        return bool(await self._read(query.limit(1)))

    async def latest(self, owner: int, search: str, limit: int) -> list[Creation]:
        """Return up to ``limit`` delivered creations of ``owner``, newest first.

        Their prompt contains ``search``; only the newest creations are searched.
        """
        return await self._find(owner, search, limit, most=MAX_SUGGESTION_SEARCHED)

    async def beginning(self, owner: int, typed: str, limit: int) -> list[Creation]:
        """Return up to ``limit`` delivered creations of ``owner`` whose short id begins as ``typed``, newest first.

        Fewer than `LEAST_TYPED` characters find none.
        """
        beginning = read_beginning(typed)
        if beginning is None or len(beginning) < LEAST_TYPED:
            return []
        within = Creation.short_id.between(beginning, beginning + SIGNS[-1] * (LENGTH - len(beginning)))
        query = select(Creation).where(within, Creation.owner == owner, Creation.state == State.DELIVERED)
        return await self._read(query.order_by(Creation.id.desc()).limit(limit))

    async def _find(
        self, owner: int, search: str, limit: int, *, edge: int | None = None, is_newer: bool = False, most: int = MAX_SEARCHED
    ) -> list[Creation]:
        """Return up to ``limit`` creations in the order of their ids, descending unless ``is_newer``.

        They come after the id ``edge`` in this order.
        """
        query = select(Creation).where(Creation.owner == owner, Creation.state == State.DELIVERED)
        search = clean(search)  # stored prompts were cleaned too, and databases reject what this removes
        if not search:
            return await self._read(_following(query, edge, is_newer).limit(limit))
        contains = or_(*(Creation.request[path].as_string().icontains(search, autoescape=True) for path in SEARCH_PATHS))
        found: list[Creation] = []
        async for first, last in self._ranges(owner, edge, is_newer, most):
            within = query.where(Creation.id.between(min(first, last), max(first, last)), contains)
            found += await self._read(_following(within, None, is_newer).limit(limit - len(found)))
            if len(found) == limit:
                break
        return found

    async def _ranges(self, owner: int, edge: int | None, is_newer: bool, most: int) -> AsyncIterator[tuple[int, int]]:
        """Yield ranges of ids with `ROWS_PER_SEARCH` creations of ``owner`` each."""
        for _ in range(most // ROWS_PER_SEARCH):
            ids = select(Creation.id).where(Creation.owner == owner)
            page = await self._read(_following(ids, edge, is_newer).limit(ROWS_PER_SEARCH))
            if not page:
                return
            yield page[0], page[-1]
            edge = page[-1]

    async def family(self, creation: Creation) -> list[Creation | PastCreationRow]:
        """Return ``creation`` with its ancestors and their descendants.

        These are up to `MAX_ANCESTORS` ancestors, and the descendants of the oldest of them: `MAX_FAMILY` creations at most.
        """
        family: dict[int, Creation | PastCreationRow] = {creation.id: creation}
        oldest: Creation | PastCreationRow = creation
        while oldest.parent_id and oldest.parent_id not in family and len(family) <= MAX_ANCESTORS:
            parents = await self._read(select(Creation).where(Creation.id == oldest.parent_id))
            parents = parents or await self._read(select(PastCreationRow).where(PastCreationRow.id == oldest.parent_id))
            if not parents:
                break
            oldest = parents[0]
            family[oldest.id] = oldest
        generation = list(family)
        while generation and len(family) < MAX_FAMILY:
            children = await self._children(generation, list(family), MAX_FAMILY - len(family))
            family |= {child.id: child for child in children}
            generation = [child.id for child in children]
        return list(family.values())

    async def follower(self, creation_id: int, action: str) -> Creation | None:
        """Return a creation that was made from another by ``action``, unless it failed or was cancelled or deleted."""
        is_there = or_(Creation.state.in_(UNFINISHED_STATES), Creation.message_id.is_not(None))
        query = select(Creation).where(Creation.parent_id == creation_id, Creation.action == action, is_there)
        query = query.where(Creation.state.not_in((State.FAILED, State.CANCELLED)))
        return next(iter(await self._read(query.limit(1))), None)

    async def _children(self, parents: list[int], known: list[int], limit: int) -> Sequence[Creation | PastCreationRow]:
        delivered = and_(Creation.parent_id.in_(parents), Creation.state == State.DELIVERED, Creation.id.not_in(known))
        past = and_(PastCreationRow.parent_id.in_(parents), PastCreationRow.id.not_in(known))
        found = await self._read(select(Creation).where(delivered).order_by(Creation.id).limit(limit))
        found += await self._read(select(PastCreationRow).where(past).order_by(PastCreationRow.id).limit(limit))
        return list(islice(sorted(found, key=lambda child: child.id), limit))

    async def _read(self, query: Select[Any]) -> list[Any]:
        return list(await self._database.scalars(query, DATABASE_UNREACHABLE, CreationStoreError))


def _following(query: Select[Any], edge: int | None, is_newer: bool) -> Select[Any]:
    """Order ``query`` by id, descending unless ``is_newer``, and begin after ``edge``."""
    if edge is not None:
        query = query.where(Creation.id > edge if is_newer else Creation.id < edge)
    return query.order_by(Creation.id if is_newer else Creation.id.desc())
