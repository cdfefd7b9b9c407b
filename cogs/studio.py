"""The service between the cogs and the engine: it accepts requests, writes them down and has them developed."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

import discord

from cogs import render, views
from cogs.access import is_age_restricted, may_end
from cogs.archive import Archive
from cogs.composer import Composer
from cogs.database import Database
from cogs.delivery import QUIET, Delivery
from cogs.development import Development
from cogs.gallery import Gallery
from cogs.journal import Creation, Journal, State, to_json
from cogs.ledger import Ledger
from cogs.metrics import Metrics
from cogs.moderator import Moderator
from cogs.personal import PersonalData
from cogs.refusal import REFUSALS, Refusal, refusal_of
from cogs.registry import Registry
from cogs.reviews import Reviews
from cogs.rules import Rules
from cogs.styles import Style
from cogs.telling import answering, explained, tell, tell_note
from cogs.upkeep import Upkeep
from diffusion.engine import Engine
from diffusion.errors import DarkroomError, QueueFull
from diffusion.job import Job
from diffusion.request import ImageRequest

log = logging.getLogger(__name__)
Spawn = Callable[[Coroutine[Any, Any, None]], Any]
Interaction = discord.Interaction[Any]
Compose = Callable[[], Awaitable[ImageRequest]]

PREPARING = "Preparing…"
DRAINING = "I take no more requests at the moment. Please try again later."
CLOSING = "I am being restarted. Please try again in a minute."
MAX_PER_MEMBER = 5


class Studio:
    """Makes pictures for interactions. Cogs and buttons only say which; ``spawn`` starts what outlives a command.

    A member may have ``max_per_member`` unfinished requests and make ``daily_allowance`` pictures a day. ``styles`` are those
    offered in place of the model's own.

    `open` it once the bot is logged in and `close` it before the bot is.
    """

    development: Development
    answering, tell = staticmethod(answering), staticmethod(tell)

    def __init__(
        self,
        engine: Engine,
        database: Database,
        gallery: Gallery,
        spawn: Spawn = asyncio.create_task,
        max_per_member: int = MAX_PER_MEMBER,
        daily_allowance: int | None = None,
        styles: Mapping[str, Style] | None = None,
    ) -> None:
        self.engine, self.database, self.gallery, self.spawn = engine, database, gallery, spawn
        self.journal, self.registry, self.ledger = Journal(database), Registry(database), Ledger(database)
        self.reviews = Reviews(database)
        self.archive = Archive(database)
        self.personal = PersonalData(database, self.journal, self.registry, gallery)
        self.rules = Rules(engine, self.registry, self.ledger, daily_allowance)
        self.composer = Composer(engine.model, self.rules, styles)
        self.max_per_member = max_per_member
        self.metrics = Metrics(engine, self.journal)
        self.refusing: str | None = None  # why nothing is accepted, as a sentence
        self._following: set[Any] = set()
        self._prepared: Counter[int] = Counter()
        self._chores: list[Any] = []

    @property
    def jobs(self) -> Mapping[int, Job]:
        """What is being made, by the id of its creation."""
        return self.development.jobs

    async def open(self, client: discord.Client) -> None:
        """Take up what an earlier run of the bot left unfinished; raises `DatabaseFailed`."""
        await self.registry.open()
        moderator = Moderator(self.engine, self.registry, self.journal, self.reviews, client)
        self.development = Development(self.engine, self.journal, self.gallery, Delivery(client, self.journal), moderator)
        for creation in await self.journal.unfinished():
            log.info("taking up %r", creation)
            self.start(self.development.take_up(creation))
        upkeep = Upkeep(self.journal, self.ledger, self.gallery, self.reviews, self.go_on)
        self._chores = [self.spawn(upkeep.run()), self.spawn(self.metrics.watch_loop())]

    async def close(self, grace: float = 0) -> None:
        """Accept no more, give what runs ``grace`` seconds to finish, and leave the rest to the next run."""
        self.refusing = CLOSING
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._following:
                    await asyncio.wait(self._following)
        tasks = [*self._following, *self._chores]
        interrupted = self.development.in_hand if self._following else []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if interrupted and grace:
            await self.development.pause(interrupted)

    async def drain(self) -> None:
        """Accept no more until `reopen`, and wait until what was accepted has ended."""
        self.refusing = self.refusing or DRAINING
        while self._following:
            await asyncio.wait(self._following)

    def reopen(self) -> None:
        """Accept again after `drain`; does nothing once the studio is closing."""
        if self.refusing == DRAINING:
            self.refusing = None

    async def request(self, interaction: Interaction, prompt: str, **settings: Any) -> ImageRequest:
        """Compose what the member of ``interaction`` asks for, with defaults where ``settings`` leave something open.

        Raises `InvalidRequest`.
        """
        return self.composer.request(interaction, prompt, **settings)

    async def admit(self, interaction: Interaction, request: ImageRequest) -> None:
        """Let pass what may be made here; raises `DarkroomError` for anything else, before any of it is made."""
        await self.rules.admit(interaction, request)

    async def make(
        self,
        interaction: Interaction,
        compose: Compose,
        *,
        private: bool | None = None,
        spoiler: bool | None = None,
        parent: int | None = None,
    ) -> bool:
        """Acknowledge, let ``compose`` find out what is wanted, queue it, and follow it in the background.

        ``private`` shows it to the member alone, ``spoiler`` hides it until it is clicked; None: as they prefer. Errors reach
        them as a sentence only they can see. Says whether it was accepted.
        """
        async with self.answering(interaction), self._in_hand(), self._preparing(interaction.user.id):
            creation = await self._accept(interaction, private, spoiler, parent=parent)
            try:
                await self._respond(interaction, creation, PREPARING, None)
                request = await compose()
                async with self.rules.turn(creation.owner):
                    await self.admit(interaction, request)
                    await self._write_down(creation, request)
                job = self._submit(request, interaction)
            except Exception as error:
                await self._refuse(interaction, creation, error)
                return False
            await tell_note(interaction)
            self.start(self.development.follow(creation, job, PREPARING))
            return True
        return False

    async def make_now(
        self, interaction: Interaction, request: ImageRequest, *, private: bool | None = None, spoiler: bool | None = None
    ) -> None:
        """Like `make` for a request that needs nothing fetched, so that the first answer tells its place already."""
        async with self.answering(interaction), self._in_hand():
            creation = job = None
            try:
                async with self.rules.turn(interaction.user.id):
                    await self.admit(interaction, request)
                    self._check_unfinished(interaction.user.id)
                    job = self._submit(request, interaction)
                    creation = await self._accept(interaction, private, spoiler, request)
                self.development.take_in_hand(creation, job)
                text = render.progress_text(request, job.progress)
                await self._respond(interaction, creation, text, views.cancel_view(creation.owner, creation.id))
            except BaseException as error:
                if job:
                    job.cancel()
                if creation is None:
                    raise
                self.development.let_go(creation)
                if not isinstance(error, Exception):
                    raise
                await self._refuse(interaction, creation, error)
                return
            await tell_note(interaction)
            self.start(self.development.follow(creation, job, text))

    def cancel(self, interaction: Interaction, creation_id: int) -> None:
        """Take back what the member of ``interaction`` asked for, or another one where they are a moderator.

        Raises `DarkroomError` where there is nothing to take back or that is not theirs to decide.
        """
        creation = next((creation for creation in self.development.in_hand if creation.id == creation_id), None)
        if creation is None:
            raise DarkroomError("These pictures are not being made any more.")
        if not may_end(interaction, creation):
            raise DarkroomError("Only the member who asked for these pictures or a moderator can cancel them.")
        if not self.jobs[creation_id].cancel():
            raise DarkroomError("These pictures are not being made any more.")

    async def go_on(self, creation_id: int) -> None:
        """Do with a held creation what was decided about it; raises `JournalFailed`."""
        creation = await self.journal.get(creation_id)
        if creation and creation.state == State.HELD and self.refusing != CLOSING:
            self.start(self.development.take_up(creation))

    def _submit(self, request: ImageRequest, interaction: Interaction) -> Job:
        if self.refusing:
            raise DarkroomError(self.refusing)
        try:
            return self.engine.submit(request, owner=interaction.user.id)
        except QueueFull:
            left = max((left or 0 for left in self.engine.forecast().values()), default=0)
            when = render.duration(left / 2) if left else "a minute"
            raise QueueFull(f"So many pictures are waiting that I take no more. Please try again in about {when}.") from None

    async def _accept(
        self,
        interaction: Interaction,
        private: bool | None,
        spoiler: bool | None,
        request: ImageRequest | None = None,
        parent: int | None = None,
    ) -> Creation:
        """Write down that the member was promised an answer; raises `JournalFailed`."""
        if self.refusing:
            raise DarkroomError(self.refusing)
        preferred = self.registry.at(interaction)
        private = bool(preferred.private) if private is None else private
        if spoiler is None:  # what comes of hidden pictures is hidden, too
            origin = await self.journal.get(parent) if parent else None
            spoiler = bool(preferred.spoiler or (origin and origin.spoiler))
        creation = Creation(
            id=interaction.id,
            parent_id=parent,
            owner=interaction.user.id,
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id,
            application_id=interaction.application_id,
            token=interaction.token,
            expires=interaction.expires_at,
            private=private,
            token_only=private or not _sees_channel(interaction),
            spoiler=spoiler,
            age_restricted=is_age_restricted(interaction),
            counted=request.count if request else 0,
            request=to_json(request) if request else None,
        )
        await self.journal.add(creation)
        return creation

    async def _respond(self, interaction: Interaction, creation: Creation, text: str, view: discord.ui.View | None) -> None:
        options: dict[str, Any] = {"view": view} if view else {}
        response = await interaction.response.send_message(
            f"{text}\n{render.TOKEN_NOTE}" if creation.token_only else text,
            ephemeral=creation.private,
            allowed_mentions=QUIET,
            **options,
        )
        await self.journal.update(creation, message_id=response.message_id)

    async def _write_down(self, creation: Creation, request: ImageRequest) -> None:
        source = await asyncio.to_thread(render.source_png, request)
        name = await self.gallery.keep(source) if source else None
        await self.journal.update(creation, request=to_json(request), source=name, counted=request.count)

    async def _refuse(self, interaction: Interaction, creation: Creation, error: Exception) -> None:
        """End what could not be begun, unless Discord may have shown the answer nevertheless."""
        if isinstance(error, REFUSALS) and refusal_of(error) is Refusal.LATER and creation.message_id is None:
            self.start(self.development.take_up(creation))
            return
        sentence = explained(error)
        await tell(interaction, sentence)
        await self.journal.close(creation, State.FAILED, sentence)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine`` in the background; `close` waits for it."""
        task = self.spawn(coroutine)
        # The event loop holds tasks weakly; this set keeps them until they end.
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    @contextlib.asynccontextmanager
    async def _in_hand(self) -> AsyncIterator[None]:
        """Let `close` wait for the task that runs this, which has accepted something and follows it soon."""
        task = asyncio.current_task()
        self._following.add(task)
        try:
            yield
        finally:
            self._following.discard(task)

    @contextlib.asynccontextmanager
    async def _preparing(self, member: int) -> AsyncIterator[None]:
        """Count what a member has prepared, such as attachments downloaded and held in memory; raises `QueueFull`."""
        self._check_unfinished(member)
        self._prepared[member] += 1
        try:
            yield
        finally:
            self._prepared[member] -= 1
            self._prepared += Counter()  # forgets those who have none

    def _check_unfinished(self, member: int) -> None:
        if self.engine.jobs_of(member) + self._prepared[member] >= self.max_per_member:
            raise QueueFull(
                f"You wait for {self.max_per_member} requests already, which is all I take from one member."
                " Please wait for one of them, or cancel one with /queue."
            )


def _sees_channel(interaction: Interaction) -> bool:
    """Whether the bot itself, not only the interaction, reaches the channel: not where a member installed it alone."""
    guild = interaction.client.get_guild(interaction.guild_id) if interaction.guild_id else None
    return guild is not None and interaction.app_permissions.view_channel
