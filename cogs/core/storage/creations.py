"""The table of generation jobs, each from a member's request to its pictures.

A `Creation` is committed before the member sees the first reply, so that no accepted request is lost. Its states, where each
arrow is one committed transaction: accepted -> running -> rendered (its files are stored) -> delivered. A moderator may have to
review flagged pictures between running and rendered. Every state before delivered can become failed or cancelled. The states
delivered, failed and cancelled are final.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from PIL import Image
from sqlalchemy import JSON, BigInteger, Boolean, Float, Index, Select, String, Text, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, load_only, mapped_column

from cogs.core.i18n.catalogues import ENGLISH
from cogs.core.storage.database import (
    DATABASE_UNREACHABLE,
    Base,
    Database,
    DatabaseUnavailableError,
    UtcDateTime,
    first_line,
    has_lost_connection,
)
from cogs.core.storage.lease import Lease
from cogs.core.storage.short_ids import LENGTH as SHORT_ID_LENGTH
from cogs.core.storage.short_ids import PLACES
from cogs.core.storage.usage import FileRow, add_usage, replace_files, used_files
from diffusion.errors import DarkroomError, SeveralInvalidError
from diffusion.request import ImageRequest
from diffusion.text import N_, english

log = logging.getLogger(__name__)
MAX_MODEL_LENGTH: Final = 200  # characters
MAX_FAILURE_LENGTH: Final = 200  # characters
FILE_COLUMNS: Final = ("source", "pictures", "timelapse")
REQUEST_NOT_SAVED: Final = N_("I cannot save requests at the moment, so I accept none. Please try again later.")


class CreationStoreError(DatabaseUnavailableError):
    """The table of creations cannot be read or written."""


class OwnershipLostError(Exception):
    """Another process owns this creation now, or has finished it.

    This process must do nothing more for it.
    """


class ShortIdTakenError(Exception):
    """Another creation has this short id."""


class State(StrEnum):
    """The progress of a creation."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    RENDERED = "rendered"
    IN_REVIEW = "in_review"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED_STATES: Final = (State.ACCEPTED, State.RUNNING, State.RENDERED, State.IN_REVIEW)


class Creation(Base):
    """One generation job; only the process ``owner_process`` may change it.

    - ``id`` is the id of the interaction that requested it; ``parent_id`` is the creation whose button the member used, and
      ``action`` the name of that button, with the number of the picture among several: "strong:2".
    - ``short_id`` is what members read and type instead.
    - ``token_only``: only the interaction's token, which lives until ``expires``, reaches the message.
    - ``posting_in`` is the channel of a replacement message that is about to be posted, because the first cannot be edited.
    - ``language`` is the language of the reply; ``spoiler`` hides the pictures until clicked.
    - ``age_restricted``: the channel was age-restricted at the time. ``flags`` are the labels for which pictures were flagged.
    - ``counted`` is how many pictures of the member's daily allowance it uses: once it has failed or was
      cancelled, only those for what was computed.
    - ``request`` is empty until it is complete, for example while an attachment is downloaded.
    - ``source``, ``pictures`` and ``timelapse`` (how the pictures formed) name files of the `ImageStore`.
    - ``failure`` is the kind of ``error``: its template, without what members typed.
    - ``model`` drew the pictures in ``seconds``; ``attempts`` counts how often the engine began.
    """

    __tablename__ = "creations"
    __table_args__ = (
        Index("ix_creations_owner_id", "owner", "id"),
        Index("ix_creations_owner_state", "owner", "state", "id"),
        Index("ix_creations_guild_id", "guild_id", "id"),
        Index("ix_creations_state_id", "state", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    short_id: Mapped[str] = mapped_column(String(SHORT_ID_LENGTH), index=True, unique=True)
    parent_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    action: Mapped[str | None] = mapped_column(String(40))
    owner: Mapped[int] = mapped_column(BigInteger)
    guild_id: Mapped[int | None] = mapped_column(BigInteger)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    message_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    application_id: Mapped[int] = mapped_column(BigInteger)
    token: Mapped[str] = mapped_column(String(500))
    expires: Mapped[datetime] = mapped_column(UtcDateTime)
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
    timelapse: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[str | None] = mapped_column(String(MAX_MODEL_LENGTH))
    seconds: Mapped[float | None] = mapped_column(Float)
    posting_in: Mapped[int | None] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(10), default=State.ACCEPTED)
    owner_process: Mapped[int] = mapped_column(BigInteger, default=0)
    error: Mapped[str | None] = mapped_column(Text)
    failure: Mapped[str | None] = mapped_column(String(MAX_FAILURE_LENGTH))
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=lambda: datetime.now(UTC))
    changed: Mapped[datetime] = mapped_column(
        UtcDateTime, default=lambda: datetime.now(UTC), onupdate=lambda: datetime.now(UTC)
    )

    @property
    def files(self) -> set[str]:
        """The names of all its files in the `ImageStore`."""
        return {*(self.pictures or ()), *filter(None, (self.source, self.timelapse))}

    @property
    def prompt(self) -> str:
        """The prompt and those of a morph or of branches; empty without ``request``."""
        request = self.request or {}
        later = (prompt for _, prompt in request.get("branches") or ())
        return " → ".join(filter(None, (request.get("prompt"), request.get("morph_to"), *later)))

    def __repr__(self) -> str:
        return f"<Creation {self.id} {self.state}>"  # for the log: no secrets


class CreationStore:
    """Reads and writes creations for the process of ``lease``.

    Without a lease there is only one process. `watchers` are called with every creation that has reached another state; the log
    tells them, too, with the prompt if it ``logs_prompts``. All methods that use the database raise `CreationStoreError`.
    """

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database = database
        self.lease = lease
        self._owner_process = lease.process_id if lease else 0
        self._owned = Creation.state.in_(UNFINISHED_STATES), Creation.owner_process == self._owner_process
        self._pending: dict[int, dict[str, Any]] = {}  # changes that are not committed yet, by creation
        self._failed: list[int] = []  # the creations among them whose commit failed
        self.watchers: list[Callable[[Creation], None]] = []
        self.logs_prompts = False

    @property
    def is_ownership_certain(self) -> bool:
        """Whether no other process can have taken creations over.

        Does not ask the database.
        """
        return self.lease is None or not self.lease.is_shared or self.lease.is_valid

    async def add(self, creation: Creation) -> None:
        """Insert ``creation`` with a new short id, and count its pictures."""
        if not self.is_ownership_certain:
            raise CreationStoreError(REQUEST_NOT_SAVED)  # another process would claim it at once
        creation.owner_process = self._owner_process
        try:
            try:
                await self._insert(creation)
            except CreationStoreError as error:
                if not has_lost_connection(error):
                    raise
                await self._insert(creation, is_repeated=True)
        except CreationStoreError:
            # The commit may have succeeded although its answer was lost. No process works on such a row, so it must fail.
            reason = {"error": REQUEST_NOT_SAVED, "failure": kind_of(REQUEST_NOT_SAVED)}
            self._pending[creation.id] = {"state": State.FAILED, **reason, "token": "", "counted": 0}
            self._failed.append(creation.id)
            raise
        self._announce(creation)

    async def _insert(self, creation: Creation, is_repeated: bool = False) -> None:
        """Insert ``creation`` with a random short id, unless an attempt whose answer was lost has done so."""
        try:
            async with self._database.transaction(REQUEST_NOT_SAVED, CreationStoreError) as session:
                if is_repeated and await session.scalar(select(Creation.id).where(Creation.id == creation.id)):
                    return
                creation.short_id = "".join(map(secrets.choice, PLACES))  # one of 486,000,000, which may be taken
                session.add(creation)
                try:
                    await session.flush()
                except IntegrityError as error:
                    if "short_id" in first_line(error):
                        raise ShortIdTakenError from None
                    raise
                if creation.files:
                    await replace_files(session, creation.id, creation.files)
                await add_usage(session, creation.owner, creation.guild_id, creation.created, creation.counted)
        except ShortIdTakenError:
            await self._insert(creation, is_repeated)

    async def update(self, creation: Creation, **changes: Any) -> None:
        """Commit ``changes`` of an unfinished creation.

        Raises `OwnershipLostError` if this process does not own it any more. A database that fails stops nothing: the changes
        are kept and committed with a later update or by `flush`. If the bot ends before, a restart repeats some work.
        """
        self._pending[creation.id] = self._pending.pop(creation.id, {}) | changes
        owned = await self._commit(creation.id)
        if owned is not None and self._failed:
            await self.flush()
        if owned is False and creation.state in UNFINISHED_STATES:
            raise OwnershipLostError(repr(creation))
        for name, value in changes.items():
            setattr(creation, name, value)
        if "state" in changes:
            self._announce(creation)

    async def finish(self, creation: Creation, state: State, error: Exception | str | None = None, **changes: Any) -> None:
        """Move ``creation`` to a final state and delete its token.

        Unless ``changes`` say what is ``counted``, a failed or cancelled creation uses none of the daily allowance.
        """
        if state in (State.FAILED, State.CANCELLED):
            changes.setdefault("counted", 0)
        if error is not None:
            changes |= {"error": str(error), "failure": kind_of(error)}
        await self.update(creation, state=state, token="", **changes)

    async def flush(self) -> None:
        """Commit the changes whose commit has failed, until one fails again."""
        while self._failed and await self._commit(self._failed[0]) is not None:
            pass

    async def assert_owned(self, creation: Creation) -> None:
        """Raise `OwnershipLostError` if another process may show the result.

        Waits while the database is down, unless this is the only process. A process that is suspended after this call for
        longer than its lease may still post what another process posts. Both edit the same message, and Discord drops a second
        new message with the same nonce. Only a new message by a token, which takes no nonce, can appear twice.
        """
        if self.lease is None or not self.lease.is_shared:
            return
        owned = select(Creation.id).where(Creation.id == creation.id, *self._owned)
        while True:
            try:
                if not await self._database.scalars(owned, DATABASE_UNREACHABLE, CreationStoreError):
                    raise OwnershipLostError(repr(creation))
                if self.lease.is_valid:  # for long enough to post
                    return
            except CreationStoreError:
                if self.lease.is_single_process:
                    return
            await asyncio.sleep(self.lease.renew_interval)

    async def get(self, creation_id: int) -> Creation | None:
        """Return the creation of that id."""
        return next(iter(await self._read(select(Creation).where(Creation.id == creation_id))), None)

    async def get_by_short_id(self, short_id: str) -> Creation | None:
        """Return the creation of that short id."""
        return next(iter(await self._read(select(Creation).where(Creation.short_id == short_id))), None)

    async def get_by_message(self, message_id: int) -> Creation | None:
        """Return the creation whose result is in that message."""
        return next(iter(await self._read(select(Creation).where(Creation.message_id == message_id))), None)

    async def newest(self) -> Creation | None:
        """Return the creation that was requested last."""
        return next(iter(await self._read(select(Creation).order_by(Creation.id.desc()).limit(1))), None)

    async def unfinished(self) -> list[Creation]:
        """Return all unfinished creations, oldest first."""
        return await self._read(select(Creation).where(Creation.state.in_(UNFINISHED_STATES)).order_by(Creation.id))

    async def with_files(self, names: Collection[str]) -> list[Creation]:
        """Return the creations that use any of the files ``names``."""
        if not names:
            return []
        users = select(FileRow.creation_id).where(FileRow.name.in_(names))
        return await self._read(select(Creation).where(Creation.id.in_(users)))

    async def used_files(self, names: Collection[str]) -> set[str]:
        """Return those of ``names`` that any creation uses."""
        return await used_files(self._database, names)

    async def forget_messages(self, message_ids: Collection[int]) -> None:
        """Record that these messages were deleted.

        From now on, only the owner may see their creations.
        """
        query = update(Creation).where(Creation.message_id.in_(message_ids), Creation.state == State.DELIVERED)
        async with self._database.transaction("Deleted messages cannot be noted.", CreationStoreError) as session:
            await session.execute(query.values(message_id=None), execution_options={"synchronize_session": False})

    async def _commit(self, creation_id: int) -> bool | None:
        """Commit the pending changes of one creation.

        Returns False if this process does not own it any more, None if the database fails.
        """
        changes = self._pending[creation_id]
        if creation_id in self._failed:
            self._failed.remove(creation_id)
        statement = update(Creation).where(Creation.id == creation_id, *self._owned).values(**changes)
        state = changes.get("state", "changed")
        try:
            async with self._database.transaction(
                f"Creation {creation_id} cannot be stored as {state} yet.", CreationStoreError
            ) as session:
                if "counted" in changes:
                    await self._recount(session, creation_id, changes["counted"])
                updated: Any = await session.execute(statement, execution_options={"synchronize_session": False})
                if updated.rowcount == 1 and not changes.keys().isdisjoint(FILE_COLUMNS):
                    files = load_only(*(getattr(Creation, column) for column in FILE_COLUMNS))
                    changed = await session.get_one(Creation, creation_id, options=[files])
                    await replace_files(session, creation_id, changed.files)
        except CreationStoreError:
            if creation_id in self._pending and creation_id not in self._failed:
                self._failed.append(creation_id)  # at the end, so that the next flush begins with the others
            return None
        if self._pending.get(creation_id) is changes:
            del self._pending[creation_id]
            if creation_id in self._failed:  # an earlier commit of some of these changes has failed meanwhile
                self._failed.remove(creation_id)
        return bool(updated.rowcount == 1)

    async def _recount(self, session: AsyncSession, creation_id: int, counted: int) -> None:
        row = select(Creation).where(Creation.id == creation_id, *self._owned).with_for_update()
        if found := (await session.scalars(row)).one_or_none():
            await add_usage(session, found.owner, found.guild_id, found.created, counted - found.counted)

    def _announce(self, creation: Creation) -> None:
        """Log the new state of ``creation`` by its id, and call the watchers."""
        fields = {"creation": creation.id, "state": str(creation.state), "owner": creation.owner, "guild": creation.guild_id}
        if self.logs_prompts:
            prompt = (creation.request or {}).get("prompt")
            texts = {"prompt": prompt, "error": creation.error}
            log.info("%r %r", creation, prompt, extra=fields | {name: text for name, text in texts.items() if text})
        else:
            log.info("%r", creation, extra=fields)
        for watcher in self.watchers:
            watcher(creation)

    async def _read(self, query: Select[Creation]) -> list[Creation]:
        return list(await self._database.scalars(query, DATABASE_UNREACHABLE, CreationStoreError))


def kind_of(error: Exception | str) -> str:
    """Return what kind of ``error`` it is, without the values that its text holds; a text is one of ours without gaps."""
    if isinstance(error, SeveralInvalidError):
        error = error.errors[0]
    if isinstance(error, DarkroomError):
        return english(error.template, error.values)[:MAX_FAILURE_LENGTH]
    return error[:MAX_FAILURE_LENGTH] if isinstance(error, str) else type(error).__name__


def request_to_json(request: ImageRequest) -> dict[str, Any]:
    """Return all fields of ``request`` but its images."""
    return {field.name: getattr(request, field.name) for field in fields(request) if field.name not in ("image", "mask")}


def request_from_json(data: dict[str, Any], image: Image.Image | None, mask: Image.Image | None = None) -> ImageRequest:
    """Restore the request that `request_to_json` returned.

    Raises `InvalidRequestError`, or TypeError for data of another version.
    """
    tuples = {"branches": tuple(map(tuple, data.get("branches", ())))}
    tuples |= {"loras": tuple((name, weight) for name, weight in data.get("loras", ()))}
    tuples |= {name: tuple(data[name]) for name in ("variants", "styles", "guidance_interval", "blend") if name in data}
    return ImageRequest(**data | tuples, image=image, mask=mask)
