"""What was asked for and what became of it, in a database. What a member was promised stands here before they are told.

A creation's life, each arrow one committed transaction: accepted -> running -> rendered (its files are on disk) -> delivered,
or failed or cancelled from anywhere before that. What was flagged may be held before it is rendered, until a moderator has
decided. What has ended never changes again.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from PIL import Image
from sqlalchemy import JSON, BigInteger, Boolean, Float, String, Text, cast, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.i18n.catalogues import ENGLISH
from cogs.core.storage import quotas
from cogs.core.storage.database import Base, Database, DatabaseUnavailableError, Instant
from cogs.core.storage.lease import Lease
from diffusion.request import ImageRequest
from diffusion.text import N_

MODEL_LIMIT: Final = 200  # characters of a model's name
NAMES_AT_ONCE: Final = 50  # of files that one statement asks for


class CreationStoreError(DatabaseUnavailableError):
    """The journal cannot be read or written."""


class OwnershipLostError(Exception):
    """Another process has taken a creation over, or it has ended elsewhere: nothing may be done for it here any more."""


class State(StrEnum):
    """How far a creation is."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    RENDERED = "rendered"
    HELD = "held"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNREADABLE: Final = N_("I cannot read my journal at the moment. Please try again later.")
UNWRITABLE: Final = N_("I cannot write requests down at the moment, so I take none. Please try again later.")
UNFINISHED: Final = (State.ACCEPTED, State.RUNNING, State.RENDERED, State.HELD)


class Creation(Base):
    """One answer of the bot: its ``id`` is that of the interaction that asked for it, ``parent_id`` that whose button did.

    ``request`` is empty until it is known what exactly to make, such as while an attachment is downloaded. ``token_only``
    says that nothing but the interaction's token, which lives until ``expires``, reaches the message. ``pictures``, ``source``
    and ``film``, which shows how the pictures formed, name files of the `ImageStore`; ``model`` is what drew them, in so many
    ``seconds``. ``posting_in`` is the channel in which a new message was about to be posted because the first one cannot be
    edited; ``attempts`` counts how often the engine began with this. ``counted`` is how many pictures of the member's day this
    takes, none once it has failed or was cancelled; ``spoiler`` hides them until clicked. The answer is in ``language``.
    ``age_restricted`` says whether the channel was when it was asked for, ``flags`` for which labels pictures were flagged.
    ``holder`` is the process that makes it, by its `Lease`; only that one may change it.
    """

    __tablename__ = "creations"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    parent_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    owner: Mapped[int] = mapped_column(BigInteger, index=True)
    guild_id: Mapped[int | None] = mapped_column(BigInteger)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    message_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    application_id: Mapped[int] = mapped_column(BigInteger)
    token: Mapped[str] = mapped_column(String(500))
    expires: Mapped[datetime] = mapped_column(Instant)
    private: Mapped[bool] = mapped_column(Boolean)
    token_only: Mapped[bool] = mapped_column(Boolean)
    language: Mapped[str] = mapped_column(String(5), default=ENGLISH)
    spoiler: Mapped[bool] = mapped_column(Boolean, default=False)
    age_restricted: Mapped[bool] = mapped_column(Boolean, default=False)
    flags: Mapped[dict[str, float] | None] = mapped_column(JSON(none_as_null=True))
    counted: Mapped[int] = mapped_column(default=0)
    request: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    source: Mapped[str | None] = mapped_column(String(64))
    pictures: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    film: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[str | None] = mapped_column(String(MODEL_LIMIT))
    seconds: Mapped[float | None] = mapped_column(Float)
    posting_in: Mapped[int | None] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(10), default=State.ACCEPTED, index=True)
    holder: Mapped[int] = mapped_column(BigInteger, default=0)
    error: Mapped[str | None] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(Instant, default=lambda: datetime.now(UTC))
    changed: Mapped[datetime] = mapped_column(Instant, default=lambda: datetime.now(UTC), onupdate=lambda: datetime.now(UTC))

    @property
    def files(self) -> set[str]:
        """The pictures of the `ImageStore` that this needs."""
        return {*(self.pictures or ()), *filter(None, (self.source, self.film))}

    @property
    def prompt(self) -> str:
        """What it shows, with what that becomes from a step on or in the end; nothing as long as that is not known."""
        request = self.request or {}
        later = (prompt for _, prompt in request.get("branches") or ())
        return " → ".join(filter(None, (request.get("prompt"), request.get("morph_to"), *later)))

    def __repr__(self) -> str:
        return f"<Creation {self.id} {self.state}>"  # and nothing that is secret


class CreationStore:
    """The table of creations, as the process of ``lease`` writes it; without one, as if there were no other process."""

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database, self.lease = database, lease
        self._holder = lease.holder if lease else 0
        self._owed: dict[int, dict[str, Any]] = {}  # changes not committed yet, by creation
        self._missed: list[int] = []  # those of them that the database did not take
        self.watchers: list[Callable[[Creation], None]] = []  # told when a creation has reached another state

    async def add(self, creation: Creation) -> None:
        """Write ``creation`` down for the first time; raises `CreationStoreError`."""
        if self.lease and not self.lease.certain:
            raise CreationStoreError(UNWRITABLE)  # or another process might claim it at once
        creation.holder = self._holder
        try:
            async with self._database.transaction(UNWRITABLE, CreationStoreError) as session:
                session.add(creation)
                await session.flush()
                await quotas.count(session, creation.owner, creation.guild_id, creation.created, creation.counted)
        except CreationStoreError:  # or the database has done it and only could not say so: then nobody works on this
            self._owed[creation.id] = {"state": State.FAILED, "error": UNWRITABLE, "token": "", "counted": 0}
            self._missed.append(creation.id)
            raise
        self._tell(creation)

    async def update(self, creation: Creation, **changes: Any) -> None:
        """Commit ``changes`` of an unfinished creation; raises `OwnershipLostError` where that is not this process's any more.

        Where the database fails, that is logged and the work goes on. The changes are committed once it answers another
        update, or by `settle`; where the bot is ended before, a restart does a part of the work again at worst.
        """
        self._owed[creation.id] = self._owed.pop(creation.id, {}) | changes
        held = await self._commit(creation.id)
        if held is not None:
            await self.settle()
        if held is False and creation.state in UNFINISHED:
            raise OwnershipLostError(repr(creation))
        for name, value in changes.items():
            setattr(creation, name, value)
        if "state" in changes:
            self._tell(creation)

    async def settle(self) -> None:
        """Commit what the database did not take before, as far as it does now."""
        while self._missed and await self._commit(self._missed[0]) is not None:
            pass

    async def hold(self, creation: Creation) -> None:
        """Make sure that ``creation`` is this process's right before its answer is shown for good; raises `OwnershipLostError`.

        While the database does not answer, that is waited for, unless no other process could have taken it over. One that is
        stopped between this and the answer for longer than its lease may still show what another shows: both edit the same
        message, and Discord takes a new one of the same nonce once. Only a new one by a token, which has none, may come twice.
        """
        if self.lease is None or not self.lease.shared:
            return
        ours = select(Creation.id).where(*self._ours(creation.id))
        while True:
            try:
                async with self._database.transaction(UNREADABLE, CreationStoreError) as session:
                    if await session.scalar(ours) is None:
                        raise OwnershipLostError(repr(creation))
                if self.lease.certain:  # for long enough to post
                    return
            except CreationStoreError:
                if self.lease.sole:
                    return
            await asyncio.sleep(self.lease.beat)

    @property
    def certain(self) -> bool:
        """Whether what this process makes is surely its own still, told without asking the database."""
        return self.lease is None or self.lease.certain

    async def close(self, creation: Creation, state: State, error: str | None = None, **changes: Any) -> None:
        """End ``creation``; its token is not needed any more and is forgotten. What did not come about is not counted."""
        if state in (State.FAILED, State.CANCELLED):
            changes |= {"counted": 0}
        await self.update(creation, state=state, error=error, token="", **changes)

    async def unfinished(self) -> list[Creation]:
        """Give what a member still waits for, oldest first; raises `CreationStoreError`."""
        return await self._read(select(Creation).where(Creation.state.in_(UNFINISHED)).order_by(Creation.id))

    async def get(self, creation_id: int) -> Creation | None:
        """Find the creation of that id; raises `CreationStoreError`."""
        return next(iter(await self._read(select(Creation).where(Creation.id == creation_id))), None)

    async def of_message(self, message_id: int) -> Creation | None:
        """Find the creation whose message this is; raises `CreationStoreError`."""
        return next(iter(await self._read(select(Creation).where(Creation.message_id == message_id))), None)

    async def needed(self, names: Collection[str]) -> set[str]:
        """Find which of the pictures of those ``names`` any creation has; raises `CreationStoreError`."""
        found, asked = set[str](), list(names)
        for start in range(0, len(asked), NAMES_AT_ONCE):
            part = asked[start : start + NAMES_AT_ONCE]
            pictures = (cast(Creation.pictures, Text).contains(name) for name in part)
            having = or_(Creation.source.in_(part), Creation.film.in_(part), *pictures)
            for creation in await self._read(select(Creation).where(having)):
                found |= creation.files.intersection(part)
        return found

    async def _recount(self, session: Any, creation_id: int, counted: int) -> None:
        row = select(Creation).where(*self._ours(creation_id)).with_for_update()
        if found := (await session.scalars(row)).one_or_none():
            await quotas.count(session, found.owner, found.guild_id, found.created, counted - found.counted)

    def _tell(self, creation: Creation) -> None:
        for watcher in self.watchers:
            watcher(creation)

    async def _read(self, query: Any) -> list[Creation]:
        async with self._database.transaction(UNREADABLE, CreationStoreError) as session:
            return list((await session.scalars(query)).all())

    def _ours(self, creation_id: int) -> tuple[Any, ...]:
        return Creation.id == creation_id, Creation.state.in_(UNFINISHED), Creation.holder == self._holder

    async def _commit(self, creation_id: int) -> bool | None:
        """Commit what is owed to one creation, False where it is not this process's any more, None where the database fails."""
        changes = self._owed[creation_id]
        if creation_id in self._missed:
            self._missed.remove(creation_id)
        statement = update(Creation).where(*self._ours(creation_id)).values(**changes)
        state = changes.get("state", "changed")
        try:
            async with self._database.transaction(
                f"Creation {creation_id} is not journalled as {state} yet.", CreationStoreError
            ) as session:
                if "counted" in changes:
                    await self._recount(session, creation_id, changes["counted"])
                done: Any = await session.execute(statement, execution_options={"synchronize_session": False})
        except CreationStoreError:
            if creation_id in self._owed and creation_id not in self._missed:
                self._missed.append(creation_id)  # the others come first next time
            return None
        if self._owed.get(creation_id) is changes:
            del self._owed[creation_id]
        return done.rowcount == 1


def to_json(request: ImageRequest) -> dict[str, Any]:
    """Give all of ``request`` but its pictures."""
    return {field.name: getattr(request, field.name) for field in fields(request) if field.name not in ("image", "mask")}


def from_json(data: dict[str, Any], image: Image.Image | None, mask: Image.Image | None = None) -> ImageRequest:
    """Make the request again; raises `InvalidRequestError`, or TypeError for one that another version wrote."""
    tuples = {"branches": tuple(map(tuple, data.get("branches", ())))}
    tuples |= {name: tuple(data[name]) for name in ("variants", "guidance_interval") if name in data}
    return ImageRequest(**data | tuples, image=image, mask=mask)
