"""The service between the cogs and the engine: it accepts requests."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import discord
from PIL import Image

from cogs.core.generation.builder import RequestBuilder
from cogs.core.generation.forecast import confirm_wait
from cogs.core.generation.maintenance import Maintenance
from cogs.core.generation.message_eraser import MessageEraser
from cogs.core.generation.runner import JobRunner, ResultNote
from cogs.core.generation.safety_gate import SafetyGate
from cogs.core.generation.starboard import Starboard
from cogs.core.generation.takeover import ProcessCoordinator
from cogs.core.i18n.catalogues import say
from cogs.core.messages import render, views
from cogs.core.messages.attachments import fetched_names
from cogs.core.messages.byte_budget import PICTURE_BYTES
from cogs.core.messages.delivery import Delivery
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify
from cogs.core.messages.interactions import IS_PRIVATE
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.messages.routes import token_note
from cogs.core.messages.views import ResultActions, TimelapseRow
from cogs.core.metrics import Metrics
from cogs.core.policy.context import Context
from cogs.core.policy.limits import NO_ALLOWANCE, REFUSED_ATTACHMENT_CHARGE, MemberLimits, Rules
from cogs.core.policy.origins import Origin, OriginRules, is_repeated_by
from cogs.core.policy.permissions import may_cancel
from cogs.core.request.styles import Style
from cogs.core.storage.claims import ACTIVE_STATES
from cogs.core.storage.creations import Creation, OwnershipLostError, State, request_to_json
from cogs.core.storage.message_index import MessageIndex
from cogs.core.storage.stores import Stores
from cogs.core.tasks import Background, run_all
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError, InvalidImageError, QueueFullError
from diffusion.images.source import fit_source
from diffusion.request import ImageRequest
from diffusion.serving.interface import ImageEngine
from diffusion.serving.job import Job
from diffusion.text import N_

log = logging.getLogger(__name__)
Prepare = Callable[[], Awaitable[ImageRequest]]
ErrorView = Callable[[Interaction, Exception], discord.ui.View | None]
Describe = Callable[[Image.Image], Awaitable[list[str]]]

PREPARING = N_("Preparing…")
DRAINING = N_("The bot accepts no new requests at the moment. Please try again later.")
CLOSING = N_("The bot is being restarted. Please try again in a minute.")
ENDED = N_("These pictures are finished or cancelled already.")
QUEUE_FULL = N_("The queue is full. Please try again {when}.")
NOT_YOURS = N_("Only the member who asked for these pictures or a moderator can cancel them.")


class GenerationService:
    """Accepts requests from commands and buttons, and holds all that they use.

    ``member_limits`` hold for each member; ``styles`` replace the model's own. If several processes serve one bot, the one that
    ``leads`` does the maintenance for all. `open` the service once the bot is logged in, and `close` it before the bot.
    """

    runner: JobRunner
    message_eraser: MessageEraser
    starboard: Starboard

    def __init__(
        self,
        engine: ImageEngine,
        stores: Stores,
        *,
        member_limits: MemberLimits = NO_ALLOWANCE,
        styles: Mapping[str, Style] | None = None,
        leads: bool = True,
    ) -> None:
        self.engine = engine
        self.stores = stores
        self.leads = leads
        self.client: discord.Client | None = None  # once the service is open
        self.database = stores.database
        self.image_store = stores.image_store
        self.lease = stores.lease
        self.claims = stores.claims
        self.broadcasts = stores.broadcasts
        self.creation_store = stores.creation_store
        self.preference_store = stores.preference_store
        self.quota_store = stores.quota_store
        self.review_store = stores.review_store
        self.personal_data = stores.personal_data
        self.rules = Rules(engine, stores, member_limits)
        self.origin_rules = OriginRules(stores)
        self.builder = RequestBuilder(engine, styles)
        self.questions: dict[int, Interaction] = {}  # open questions of `confirm`, by the id of their interaction
        self.metrics = Metrics(engine, self.creation_store)
        self.describe: Describe | None = None  # returns prompts for a picture, where the operator offers that
        self.closed_reason: str | None = None  # why requests are rejected at present
        # Features add to these when they are loaded:
        self.result_actions = ResultActions()  # what members can do with pictures
        self.result_notes: list[ResultNote] = []  # lines below the settings of pictures
        self.timelapse_rows: list[TimelapseRow] = []  # rows below animations
        self.error_views: list[ErrorView] = []  # what stands below errors of commands
        self.forgetters: list[Callable[[int], None]] = []  # delete what they keep in memory about a member
        self.background = Background()
        several = self.lease.is_shared and not self.lease.is_single_process
        self.message_index = MessageIndex(is_shared=several)
        self.creation_store.watchers.append(lambda creation: self.message_index.add(creation.message_id or 0))
        self.review_store.message_watchers.append(self.message_index.add)
        self._opened = contextlib.ExitStack()  # what `close` undoes

    @property
    def jobs(self) -> Mapping[int, Job]:
        """The jobs of this process, by the id of their creation."""
        return self.runner.jobs

    async def open(self, client: discord.Client) -> None:
        """Resume the unfinished creations of an earlier run.

        Raises `DatabaseUnavailableError`.
        """
        await self.lease.open()
        await self.preference_store.open()
        safety_gate = SafetyGate(self.engine, self.preference_store, self.creation_store, self.review_store, client)
        delivery = Delivery(client, self.creation_store)
        self.runner = JobRunner(self.engine, self.stores, delivery, safety_gate, self.result_actions)
        self.runner.result_notes = self.result_notes
        self._opened.callback(self.runner.step_watch.close)
        self.forgetters.append(self.runner.kept_pictures.forget)
        self.message_eraser = MessageEraser(client, self.personal_data.erasure)
        self.starboard = Starboard(
            client, self.stores, runner=self.runner, background=self.background, index=self.message_index
        )
        for creation in await self.claims.claim_orphans():
            log.info("resuming %r", creation)
            self.background.start(self.runner.resume(creation))
        if self.lease.is_shared:
            calls = self.claims, self.preference_store, self.broadcasts, self.runner
            coordinator = ProcessCoordinator(*calls, self._resume_orphan, self._has_room)
            self.background.start_daemon(coordinator.heartbeat())
            self.background.start_daemon(coordinator.run())
        if self.leads:
            self.background.start_daemon(Maintenance(self.stores, self.message_eraser, self.resume_reviewed).run())
        self.background.start_daemon(self.metrics.watch_loop())
        self.background.start_daemon(self.metrics.watch_load())
        self.background.start_daemon(run_all(partial(self.message_index.load, self.database)))
        self.client = client

    async def close(self, grace: float = 0) -> None:
        """Accept no more requests and let jobs finish for ``grace`` seconds.

        The next run resumes the rest.
        """
        self.closed_reason = CLOSING
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.background.wait()
        interrupted = self.runner.active if self.background else []
        await self.background.cancel()
        if interrupted and grace:
            await self.runner.notify_interrupted(interrupted)
        self._opened.close()
        await self.creation_store.flush()
        await self.lease.release()

    async def drain(self) -> None:
        """Accept no more requests until `reopen`, and wait until all jobs have ended."""
        self.closed_reason = self.closed_reason or DRAINING
        await self.background.wait()

    def reopen(self) -> None:
        """Accept requests again after `drain`; does nothing after `close`."""
        if self.closed_reason == DRAINING:
            self.closed_reason = None

    async def accept(
        self,
        context: Context,
        wanted: ImageRequest | Prepare,
        *,
        private: bool | None = None,
        spoiler: bool | None = None,
        origin: Origin | None = None,
    ) -> None:
        """Store a request, answer its member and draw it in the background.

        ``wanted`` is the request, or a function that prepares it and may take longer than Discord waits for an answer.
        ``private`` shows the pictures to the member only, ``spoiler`` hides them until they are clicked; for None, the member's
        preferences decide. ``origin`` is what the request starts from, if anything. A member is asked first if a request takes
        longer than the limits' ``silent_wait_seconds``, but not if it is still to be prepared: its message shows the time then,
        beside Cancel. Raises `DarkroomError`.
        """
        if isinstance(wanted, ImageRequest) and not self.closed_reason:
            wanted = self.engine.model_of(wanted.serving_model).reassign(wanted, context.limits.steps)
            expected = self.engine.estimate_wait(wanted, context.member_id) or 0.0
            is_long = expected > self.rules.limits.silent_wait_seconds
            if is_long and not await self.runner.kept_pictures.has(context, wanted):
                answer = await confirm_wait(context, wanted, self.engine, expected)
                if answer is None:
                    return
                context, wanted = answer
        async with self.background.track_current_task(), contextlib.AsyncExitStack() as preparation:
            if self.closed_reason:
                raise DarkroomError(self.closed_reason)
            creation = self._new_creation(context, private, spoiler, origin or Origin())
            context.interaction.extras[IS_PRIVATE] = creation.private
            if origin:
                await self.origin_rules.check(context, origin, creation.private)
            is_stored = False
            job = None
            try:
                if isinstance(wanted, ImageRequest):
                    request = wanted
                else:
                    await preparation.enter_async_context(self.rules.preparing(context.member_id))
                    await self.rules.check_allowance(context, REFUSED_ATTACHMENT_CHARGE)
                    await self.creation_store.add(creation)
                    is_stored = True
                    shown = say(creation.language, PREPARING)
                    await self._respond(context, creation, shown)
                    request = await self._prepare(context, wanted, creation.private)
                texts = self.builder.typed_texts
                recipe, kept = await self.runner.kept_pictures.find(context, request)
                is_replay = origin is not None and is_repeated_by(origin, request)
                kept = None if is_replay else kept
                admission = self.rules.admit(context, request, texts, is_prepared=is_stored, is_drawn=kept is None)
                async with admission as charge:
                    job = kept or self._submit(context, creation.id, request)
                    job.recipe, job.draws_anew = recipe, is_replay
                    await self._store_request(creation, request, charge, is_stored=is_stored)
                    is_stored = True
                self.runner.track(creation, job)
                if isinstance(wanted, ImageRequest):
                    shown = render.progress_text(request, job.progress, creation.language)
                    cancel = views.cancel_view(creation.owner, creation.id, creation.language)
                    text = self.runner.with_time(shown, job, creation.language)
                    await self._respond(context, creation, text, cancel)
            except BaseException as error:
                if job:
                    job.cancel()
                    self.runner.untrack(creation)
                if not is_stored or not isinstance(error, Exception) or self._fail(creation, error):
                    raise
                return
            self.background.start(self.runner.run(creation, job, shown))

    async def _prepare(self, context: Context, prepare: Prepare, private: bool) -> ImageRequest:
        """Return the request with its picture in the size in which it is drawn, and count the bytes of that."""
        with fetched_names() as names:
            request = await prepare()
        request = self.engine.model_of(request.serving_model).reassign(request, context.limits.steps)
        await self.origin_rules.check_files(context, names, private)
        request = await asyncio.to_thread(fit_source, request)
        for image in filter(None, (request.image, request.mask)):
            PICTURE_BYTES.hold(image)
        return request

    def _new_creation(self, context: Context, private: bool | None, spoiler: bool | None, origin: Origin) -> Creation:
        """Return the row of a new request, not stored yet."""
        interaction = context.interaction
        parent = origin.creation
        private = bool(context.preferences.private) if private is None else private
        if spoiler is None:
            spoiler = bool(context.preferences.spoiler or (parent and parent.spoiler))
        guild = interaction.client.get_guild(context.guild_id) if context.guild_id else None
        sees_channel = guild is not None and interaction.app_permissions.view_channel  # else only the member installed the bot
        return Creation(
            id=interaction.id,
            parent_id=parent.id if parent else None,
            action=origin.action,
            owner=context.member_id,
            guild_id=context.guild_id,
            channel_id=interaction.channel_id,
            application_id=interaction.application_id,
            token=interaction.token,
            expires=interaction.expires_at,
            private=private,
            token_only=private or not sees_channel,
            language=context.language if private else context.channel_language,
            spoiler=spoiler,
            age_restricted=context.is_age_restricted,
        )

    async def _respond(self, context: Context, creation: Creation, text: str, view: discord.ui.View | None = None) -> None:
        """Send the first answer; progress and pictures replace it later."""
        response = await context.interaction.response.send_message(
            f"{text}\n{token_note(creation.language)}" if creation.token_only else text,
            ephemeral=creation.private,
            allowed_mentions=NO_MENTIONS,
            view=view or discord.utils.MISSING,
        )
        await self.creation_store.update(creation, message_id=response.message_id)

    def _submit(self, context: Context, creation_id: int, request: ImageRequest) -> Job:
        if self.closed_reason:  # it may have changed during the preparation
            raise DarkroomError(self.closed_reason)
        try:
            job = self.engine.submit(request, owner=context.member_id)
        except QueueFullError:
            seconds = max((left or 0 for left in self.engine.estimate_completion().values()), default=0)
            when = discord.utils.utcnow() + timedelta(seconds=seconds / 2 or 60)
            raise QueueFullError(QUEUE_FULL, when=discord.utils.format_dt(when, "R")) from None
        job.label = creation_id
        return job

    async def _store_request(self, creation: Creation, request: ImageRequest, charge: int, *, is_stored: bool) -> None:
        """Commit the complete request before the member reads that it is being made."""
        changes: dict[str, Any] = {"request": request_to_json(request), "counted": charge}
        if request.image:
            source = await asyncio.to_thread(render.encode_source, request)
            changes["source"] = await self.image_store.save(source) if source else None
        if is_stored:
            await self.creation_store.update(creation, **changes)
            return
        for name, value in changes.items():
            setattr(creation, name, value)
        await self.creation_store.add(creation)

    def _fail(self, creation: Creation, error: Exception) -> bool:
        """End a stored request that could not begin; return whether to reply.

        Returns False if another process has taken the creation over, or if Discord may have shown the first answer
        nevertheless.
        """
        if isinstance(error, OwnershipLostError):
            return False
        if isinstance(error, DISCORD_ERRORS) and classify(error) is ErrorKind.TEMPORARY and creation.message_id is None:
            self.background.start(self.runner.resume(creation))
            return False
        self.background.start(self._close_failed(creation, error))
        return True

    async def _close_failed(self, creation: Creation, error: Exception) -> None:
        charge = REFUSED_ATTACHMENT_CHARGE if isinstance(error, InvalidImageError) else 0
        with contextlib.suppress(OwnershipLostError):
            await self.creation_store.finish(creation, State.FAILED, error, counted=charge)

    async def cancel(self, context: Context, creation_id: int) -> None:
        """Cancel unfinished pictures.

        Raises `DarkroomError` if they have ended, or if the member may not cancel them.
        """
        job = self.jobs.get(creation_id)
        here = next((creation for creation in self.runner.active if creation.id == creation_id), None)
        creation = here or await self.claims.get_active(creation_id)
        if creation is None:
            raise DarkroomError(ENDED)
        if not may_cancel(context, creation):
            raise DarkroomError(NOT_YOURS)
        is_cancelled = job.cancel() if here and job else await self.cancel_elsewhere(creation_id)
        if not is_cancelled:
            raise DarkroomError(ENDED)

    async def cancel_elsewhere(self, creation_id: int) -> bool:
        """Cancel a creation that this process does not run; return False if it has ended."""
        creation = await self.claims.acquire(creation_id, *ACTIVE_STATES)
        if creation:
            self.background.start(self.runner.cancel_acquired(creation, 2 * self.lease.renew_interval))
        return creation is not None

    async def resume_reviewed(self, creation_id: int) -> None:
        """Apply the moderators' decision about a creation; raises `CreationStoreError`."""
        if self.closed_reason != CLOSING and (creation := await self.claims.acquire(creation_id, State.IN_REVIEW)):
            self.background.start(self.runner.resume(creation))

    def _resume_orphan(self, creation: Creation) -> None:
        self.background.start(self.runner.resume_orphan(creation))

    def _has_room(self) -> bool:
        return self.closed_reason != CLOSING and self.engine.unfinished < self.engine.config.max_waiting
