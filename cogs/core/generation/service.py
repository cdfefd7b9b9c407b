"""The service between the cogs and the engine: it accepts requests, writes them down and has them developed."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import discord

from cogs.core.generation.builder import RequestBuilder
from cogs.core.generation.maintenance import Maintenance
from cogs.core.generation.reception import Reception
from cogs.core.generation.runner import JobRunner, ResultNote
from cogs.core.generation.safety_gate import SafetyGate
from cogs.core.generation.takeover import ProcessCoordinator
from cogs.core.i18n.catalogues import say
from cogs.core.messages import render, views
from cogs.core.messages.delivery import Delivery
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify
from cogs.core.messages.replies import answering, explained, tell, tell_note
from cogs.core.metrics import Metrics
from cogs.core.policy.limits import Rules
from cogs.core.policy.permissions import may_end
from cogs.core.policy.waiting import Waiting
from cogs.core.request.styles import Style
from cogs.core.storage.broadcasts import Broadcasts
from cogs.core.storage.claims import ACTIVE_STATES, Claims
from cogs.core.storage.creations import Creation, CreationStore, OwnershipLostError, State
from cogs.core.storage.database import Database
from cogs.core.storage.images import ImageStore
from cogs.core.storage.lease import Lease
from cogs.core.storage.personal_data import PersonalData
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.quotas import QuotaStore
from cogs.core.storage.reviews import ReviewStore
from cogs.core.tasks import Background
from diffusion.errors import DarkroomError, QueueFullError
from diffusion.request import ImageRequest
from diffusion.serving.interface import ImageEngine
from diffusion.serving.job import Job
from diffusion.text import N_

log = logging.getLogger(__name__)
Interaction = discord.Interaction[Any]
Compose = Callable[[], Awaitable[ImageRequest]]

PREPARING = N_("Preparing…")
DRAINING = N_("I take no more requests at the moment. Please try again later.")
CLOSING = N_("I am being restarted. Please try again in a minute.")
ENDED = N_("These pictures are not being made any more.")
MAX_PER_MEMBER = 5


class GenerationService:
    """Makes pictures for interactions. Cogs and buttons only say which.

    A member may have ``max_per_member`` unfinished requests and make ``daily_allowance`` pictures a day. ``styles`` are those
    offered in place of the model's own. Where several processes serve one bot, ``lease`` is that of this one, and the one that
    ``leads`` does for all what is done once.

    `open` it once the bot is logged in and `close` it before the bot is.
    """

    runner: JobRunner
    answering, tell = staticmethod(answering), staticmethod(tell)

    def __init__(
        self,
        engine: ImageEngine,
        database: Database,
        image_store: ImageStore,
        max_per_member: int = MAX_PER_MEMBER,
        daily_allowance: int | None = None,
        styles: Mapping[str, Style] | None = None,
        lease: Lease | None = None,
        leads: bool = True,
    ) -> None:
        self.engine, self.database, self.image_store = engine, database, image_store
        self.lease, self.leads = lease or Lease(database), leads
        self.claims, self.broadcasts = Claims(database, self.lease), Broadcasts(database, self.lease)
        self.creation_store, self.preference_store, self.quota_store = (
            CreationStore(database, self.lease),
            PreferenceStore(database),
            QuotaStore(database),
        )
        self.review_store = ReviewStore(database)
        self.reception = Reception(self.creation_store, self.preference_store, image_store)
        self.personal_data = PersonalData(database, self.creation_store, self.preference_store, image_store)
        self.rules = Rules(engine, self.preference_store, self.quota_store, daily_allowance)
        self.builder = RequestBuilder(engine, self.rules, styles)
        self.waiting = Waiting(engine, self.claims, max_per_member)
        self.metrics = Metrics(engine, self.creation_store)
        self.closed_reason: str | None = None  # why nothing is accepted, as a sentence
        self.result_notes: list[ResultNote] = []  # features may append theirs
        self.background = Background()

    @property
    def jobs(self) -> Mapping[int, Job]:
        """What is being made, by the id of its creation."""
        return self.runner.jobs

    async def open(self, client: discord.Client) -> None:
        """Take up what an earlier run of the bot left unfinished; raises `DatabaseUnavailableError`."""
        await self.lease.open()
        await self.preference_store.open()
        safety_gate = SafetyGate(self.engine, self.preference_store, self.creation_store, self.review_store, client)
        self.runner = JobRunner(
            self.engine,
            self.creation_store,
            self.image_store,
            Delivery(client, self.creation_store),
            safety_gate,
            self.result_notes,
        )
        for creation in await self.claims.claim_orphans():
            log.info("taking up %r", creation)
            self.background.start(self.runner.resume(creation))
        if self.lease.is_shared:
            calls = self.claims, self.preference_store, self.broadcasts, self.runner
            rounds = ProcessCoordinator(*calls, self._resume_orphan, self._has_room)
            self.background.start_daemon(rounds.live())
            self.background.start_daemon(rounds.run())
        if self.leads:
            upkeep = Maintenance(self.creation_store, self.quota_store, self.image_store, self.review_store, self.resume_reviewed)
            self.background.start_daemon(upkeep.run())
        self.background.start_daemon(self.metrics.watch_loop())

    async def close(self, grace: float = 0) -> None:
        """Accept no more, give what runs ``grace`` seconds to finish, and leave the rest to the next run."""
        self.closed_reason = CLOSING
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.background.wait()
        interrupted = self.runner.active if self.background else []
        await self.background.cancel()
        if interrupted and grace:
            await self.runner.notify_interrupted(interrupted)
        await self.creation_store.flush()
        await self.lease.release()

    async def drain(self) -> None:
        """Accept no more until `reopen`, and wait until what was accepted has ended."""
        self.closed_reason = self.closed_reason or DRAINING
        await self.background.wait()

    def reopen(self) -> None:
        """Accept again after `drain`; does nothing once the studio is closing."""
        if self.closed_reason == DRAINING:
            self.closed_reason = None

    async def request(self, interaction: Interaction, prompt: str, **settings: Any) -> ImageRequest:
        """Compose what the member of ``interaction`` asks for, with defaults where ``settings`` leave something open.

        Raises `InvalidRequestError`.
        """
        return self.builder.request(interaction, prompt, **settings)

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
        async with (
            self.answering(interaction),
            self.background.track_current_task(),
            self.waiting.preparing(interaction.user.id),
        ):
            self._check_open()
            creation = await self.reception.accept(interaction, private, spoiler, parent=parent)
            try:
                text = say(creation.language, PREPARING)
                await self.reception.respond(interaction, creation, text)
                request = await compose()
                async with self.rules.turn(creation.owner):
                    await self.admit(interaction, request)
                    await self.reception.write_down(creation, request)
                    await self.rules.confirm(interaction)
                job = self._submit(request, interaction)
            except Exception as error:
                await self._refuse(interaction, creation, error)
                return False
            await tell_note(interaction)
            self.background.start(self.runner.run(creation, job, text))
            return True
        return False

    async def make_now(
        self, interaction: Interaction, request: ImageRequest, *, private: bool | None = None, spoiler: bool | None = None
    ) -> None:
        """Like `make` for a request that needs nothing fetched, so that the first answer tells its place already."""
        async with self.answering(interaction), self.background.track_current_task():
            creation = job = None
            try:
                async with self.rules.turn(interaction.user.id):
                    await self.admit(interaction, request)
                    await self.waiting.check(interaction.user.id)
                    job = self._submit(request, interaction)
                    creation = await self.reception.accept(interaction, private, spoiler, request)
                    await self.rules.confirm(interaction)
                self.runner.track(creation, job)
                text = render.progress_text(request, job.progress, creation.language)
                view = views.cancel_view(creation.owner, creation.id, creation.language)
                await self.reception.respond(interaction, creation, text, view)
            except BaseException as error:
                if job:
                    job.cancel()
                if creation is None:
                    raise
                self.runner.untrack(creation)
                if not isinstance(error, Exception):
                    raise
                await self._refuse(interaction, creation, error)
                return
            await tell_note(interaction)
            self.background.start(self.runner.run(creation, job, text))

    async def cancel(self, interaction: Interaction, creation_id: int) -> None:
        """Take back what the member of ``interaction`` asked for, or another one where they are a moderator.

        Raises `DarkroomError` where there is nothing to take back or that is not theirs to decide.
        """
        here = next((creation for creation in self.runner.active if creation.id == creation_id), None)
        creation = here or await self.claims.get_active(creation_id)
        if creation is None:
            raise DarkroomError(ENDED)
        if not may_end(interaction, creation):
            raise DarkroomError("Only the member who asked for these pictures or a moderator can cancel them.")
        if not (self.jobs[creation_id].cancel() if here else await self.cancel_elsewhere(creation_id)):
            raise DarkroomError(ENDED)

    async def cancel_elsewhere(self, creation_id: int) -> bool:
        """Take back what is not in hand here, as another process makes it or it is about to be gone on with.

        False where it has ended.
        """
        taken = await self.claims.acquire(creation_id, *ACTIVE_STATES)
        if taken:
            self.background.start(self.runner.cancel_acquired(taken, 2 * self.lease.renew_interval))
        return taken is not None

    async def resume_reviewed(self, creation_id: int) -> None:
        """Do with a held creation what was decided about it; raises `CreationStoreError`."""
        if self.closed_reason != CLOSING and (creation := await self.claims.acquire(creation_id, State.IN_REVIEW)):
            self.background.start(self.runner.resume(creation))

    def _resume_orphan(self, creation: Creation) -> None:
        self.background.start(self.runner.resume_orphan(creation))

    def _has_room(self) -> bool:
        return self.closed_reason != CLOSING and self.engine.unfinished < self.engine.config.max_waiting

    def _submit(self, request: ImageRequest, interaction: Interaction) -> Job:
        self._check_open()
        try:
            return self.engine.submit(request, owner=interaction.user.id)
        except QueueFullError:
            left = max((left or 0 for left in self.engine.estimate_completion().values()), default=0)
            when = discord.utils.format_dt(discord.utils.utcnow() + timedelta(seconds=left / 2 or 60), "R")
            raise QueueFullError(
                "So many pictures are waiting that I take no more. Please try again {when}.", when=when
            ) from None

    def _check_open(self) -> None:
        if self.closed_reason:
            raise DarkroomError(CLOSING if self.closed_reason == CLOSING else DRAINING)

    async def _refuse(self, interaction: Interaction, creation: Creation, error: Exception) -> None:
        """End what could not be begun, unless Discord may have shown the answer nevertheless."""
        if isinstance(error, OwnershipLostError):
            return
        if isinstance(error, DISCORD_ERRORS) and classify(error) is ErrorKind.TEMPORARY and creation.message_id is None:
            self.background.start(self.runner.resume(creation))
            return
        told = explained(error)
        await tell(interaction, told)
        with contextlib.suppress(OwnershipLostError):
            await self.creation_store.finish(creation, State.FAILED, str(told))
