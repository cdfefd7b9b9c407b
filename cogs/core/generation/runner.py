"""Run an accepted request to its end: drawing, screening and delivery.

It saves the final state of every failure, too. The database holds each step before the next one begins, so another process can
resume after a crash at any point.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

import discord

from cogs.core.generation.kept_pictures import KeptPictures
from cogs.core.generation.safety_gate import AWAITING_REVIEW, NOT_SHOWN, REJECTED, NotShownError, SafetyGate
from cogs.core.generation.step_watch import StepWatch
from cogs.core.i18n.catalogues import say, translate
from cogs.core.messages import render, views
from cogs.core.messages.announcement import MessageUnreadableError
from cogs.core.messages.delivery import Delivery, UndeliverableError
from cogs.core.messages.message import Answer, PictureFile, Result
from cogs.core.messages.routes import TOKEN_ROUTES, initial_route, while_token_lives
from cogs.core.messages.views import ResultActions, shows_result_of
from cogs.core.request.preferences import FlaggedAction
from cogs.core.request.prompt import MAX_FILES
from cogs.core.storage.creations import MAX_MODEL_LENGTH, Creation, OwnershipLostError, State, request_from_json
from cogs.core.storage.images import ImageMissingError
from cogs.core.storage.reviews import Decision, ReviewRow
from cogs.core.storage.stores import Stores
from cogs.core.tasks import retry
from diffusion.errors import DarkroomError, InvalidRequestError, JobCancelledError, QueueFullError
from diffusion.images.files import encode_result
from diffusion.images.masks import read_masked
from diffusion.images.timelapse import encode_timelapse
from diffusion.request import ImageRequest
from diffusion.result import ImageResult
from diffusion.serving.interface import ImageEngine
from diffusion.serving.job import Job
from diffusion.text import N_, Template

log = logging.getLogger(__name__)

POSTING_SECONDS = 2.0  # from the last step to the posted pictures
ESTIMATE_SECONDS = 1.0  # for which the ends of all jobs count, because their estimate takes time in proportion to their number
EDIT_SECONDS = 1.5  # Discord allows about 5 edits in 5 seconds a token, or a channel, where all jobs share them
MAX_ATTEMPTS = 30  # of a request that `StepWatch` does not find guilty, for example because it moves between machines
QUEUE_RETRY_SECONDS = 2.0
MESSAGE_DELETED = "The message was deleted."
NEVER_ANSWERED = "The interaction was never answered."
READY = N_("ready {when}")
UNEXPECTED_ERROR = N_("Something went wrong here. Please try again.")
RESTARTED = N_("I was restarted before your request was complete. Please ask again.")
OUTDATED_REQUEST = N_("I was updated and cannot read this request any more. Please ask again.")
CRASHED_TOO_OFTEN = N_("I was stopped each time I made these pictures, so I gave up. Please try other settings.")

ResultNote = Callable[[Creation, Sequence[bytes], str], Awaitable[str]]


@dataclass(frozen=True)
class EncodedFiles:
    """The files of a finished creation: its pictures and their ``source``.

    ``source`` is the picture that they started from, if their message has room for it.
    """

    pictures: Sequence[bytes]
    source: bytes | None = None


class JobRunner:
    """Runs accepted requests to their end.

    ``result_actions`` are what members can do with finished pictures. Each of ``result_notes`` may add a line under a
    result; it gets the creation, its encoded pictures and the language.
    """

    def __init__(
        self,
        engine: ImageEngine,
        stores: Stores,
        delivery: Delivery,
        safety_gate: SafetyGate,
        result_actions: ResultActions,
    ) -> None:
        self.engine = engine
        self.creation_store = stores.creation_store
        self.image_store = stores.image_store
        self.delivery = delivery
        self.safety_gate = safety_gate
        self.result_actions = result_actions
        self.result_notes: Sequence[ResultNote] = ()
        self.step_watch = StepWatch(engine, stores.step_journal)
        self.kept_pictures = KeptPictures(engine, stores.creation_store)
        self.jobs: dict[int, Job] = {}  # by the id of their creation
        self._creations: dict[int, Creation] = {}
        self._ends: WeakKeyDictionary[Job, datetime | None] = WeakKeyDictionary()  # as estimated last; None: unknown
        self._estimated_at = 0.0  # by `time.monotonic`
        self._abandoned: dict[int, asyncio.Event] = {}  # taken over by another process; set once they are untracked

    # Running jobs

    def track(self, creation: Creation, job: Job) -> None:
        """Make ``job`` visible in the queue and cancellable."""
        self.jobs[creation.id] = job
        self._creations[creation.id] = creation

    def untrack(self, creation: Creation) -> None:
        """Remove an ended job."""
        self.jobs.pop(creation.id, None)
        self._creations.pop(creation.id, None)
        if self.step_watch.blame.crashes:
            self.step_watch.clear(creation.id)
        if untracked := self._abandoned.pop(creation.id, None):
            untracked.set()

    def abandon(self, creation_id: int) -> None:
        """Stop a job that another process has taken over; that process answers the member."""
        if job := self.jobs.get(creation_id):
            self._abandoned.setdefault(creation_id, asyncio.Event())
            job.cancel()

    @property
    def active(self) -> list[Creation]:
        """The creations that run in this process."""
        return list(self._creations.values())

    def queue_snapshot(self) -> list[tuple[Creation, Job, float | None]]:
        """Return the jobs that run or wait, in the order of their turns.

        With each comes the estimated seconds until it is done.
        """
        creations = {job: self._creations[id] for id, job in self.jobs.items()}
        estimates = self.engine.estimate_completion()
        return [(creations[job], job, seconds) for job, seconds in estimates.items() if job in creations]

    def with_time(self, text: str, job: Job, language: str) -> str:
        """Return the progress ``text`` of ``job`` and when it will be done, if that is known.

        Discord counts the seconds down by itself, so the time needs no edit of the message.
        """
        now = time.monotonic()
        if job not in self._ends or now - self._estimated_at > ESTIMATE_SECONDS:
            posted = discord.utils.utcnow() + timedelta(seconds=POSTING_SECONDS)
            estimates = self.engine.estimate_completion().items()
            ends = {each: None if seconds is None else posted + timedelta(seconds=seconds) for each, seconds in estimates}
            self._ends = WeakKeyDictionary(ends)
            self._estimated_at = now
        expected = self._ends.get(job)
        return f"{text} · {say(language, READY, when=discord.utils.format_dt(expected, 'R'))}" if expected else text

    # A job from the queue to its message

    async def run(self, creation: Creation, job: Job, shown: str) -> None:
        """Follow ``job`` until ``creation`` has ended.

        ``shown`` is the text that its message has already, without a time.
        """
        self.track(creation, job)
        start = asyncio.ensure_future(self._record_start(creation, job))
        try:
            async with self.finish_on_error(creation):
                async with while_token_lives(creation) if creation.token_only else contextlib.nullcontext():
                    if not await self._show_progress(creation, job, shown):
                        await self._end(creation, State.CANCELLED, MESSAGE_DELETED)
                        return
                    result = await job
                await start
                screening: dict[str, object] = {"state": State.RENDERED, "flags": None}
                if self.engine.can_screen or result.safety_check:
                    screening = await self.safety_gate.screen(creation, result)
                files = await self._save(creation, result, screening)
                await self._finish(creation, job.request, files)
                self.kept_pictures.keep(job.recipe, creation, result)
        finally:
            job.cancel()
            start.cancel()
            await asyncio.wait([start])  # it may use the database, which closes once nothing is tracked
            self.untrack(creation)

    async def _record_start(self, creation: Creation, job: Job) -> None:
        async for progress in job:
            if progress.place is None:
                try:
                    await self.creation_store.update(creation, state=State.RUNNING, attempts=creation.attempts + 1)
                except OwnershipLostError:
                    self.abandon(creation.id)
                return

    async def _show_progress(self, creation: Creation, job: Job, shown: str) -> bool:
        """Edit progress into the message until the job ends.

        Returns False if the message was deleted.
        """
        language = creation.language
        # The channel may see previews, which nobody has screened, only where it may see flagged pictures.
        shows_previews = not self.engine.can_screen or self.safety_gate.action(creation) is FlaggedAction.ALLOW
        view = views.cancel_view(creation.owner, creation.id, language)
        async for progress in job:
            state = render.progress_text(job.request, progress, language)
            if state == shown:  # the time alone is no reason for an edit
                continue
            shown = state
            text = self.with_time(state, job, language)
            pictures: tuple[PictureFile, ...] = ()
            if shows_previews:
                spoiler = creation.spoiler
                pictures = await asyncio.to_thread(render.progress_pictures, job.request, progress, spoiler, language)
            if not await self.delivery.announce(creation, Answer(text, pictures, view), waits=False):
                return False
            jobs_in_channel = sum(other.channel_id == creation.channel_id for other in self._creations.values())
            await job.wait(EDIT_SECONDS if initial_route(creation) in TOKEN_ROUTES else EDIT_SECONDS * jobs_in_channel)
        return True

    async def _save(self, creation: Creation, result: ImageResult, screening: dict[str, object]) -> EncodedFiles:
        """Encode, store and record the pictures; return the files for the first post."""
        pictures = await asyncio.to_thread(encode_result, result)
        names = [await self.image_store.save(picture) for picture in pictures]
        timelapse = None
        if result.timelapses and not result.request.morph_to:
            timelapse = await self.image_store.save(await asyncio.to_thread(encode_timelapse, result))
        await self.creation_store.update(
            creation,
            pictures=names,
            timelapse=timelapse,
            model=result.model[:MAX_MODEL_LENGTH],
            seconds=round(result.seconds, 3),
            **screening,
        )
        source = None
        if len(pictures) < MAX_FILES:  # else the message has no room for it
            source = await asyncio.to_thread(render.encode_source, result.request)
        return EncodedFiles(pictures, source)

    async def _finish(self, creation: Creation, request: ImageRequest, files: EncodedFiles | None = None) -> None:
        """Post the pictures, or ask the moderators first if they were flagged.

        Without ``files``, reads them from the store; raises `ImageMissingError`.
        """
        if creation.state == State.IN_REVIEW and not await self._is_approved(creation, request, files):
            return
        result = await self.result(creation, request, creation.language, files)
        message_id = await self.delivery.deliver(creation, result)
        await self.creation_store.finish(creation, State.DELIVERED, message_id=message_id)

    async def _is_approved(self, creation: Creation, request: ImageRequest, files: EncodedFiles | None) -> bool:
        """Ask the moderators, or apply their decision.

        Raises `NotShownError` if they rejected the pictures.
        """
        review = await self.safety_gate.review(creation)
        if review.decision is None:
            await self._ask_moderators(creation, request, review, files)
            return False
        await self.safety_gate.close(review, creation)
        if review.decision == Decision.DELETE:
            raise NotShownError(REJECTED if review.moderator else NOT_SHOWN)
        spoiler = creation.spoiler or review.decision == Decision.SPOILER
        await self.creation_store.update(creation, state=State.RENDERED, spoiler=spoiler)
        return True

    async def _ask_moderators(
        self, creation: Creation, request: ImageRequest, review: ReviewRow, files: EncodedFiles | None
    ) -> None:
        await self.delivery.settle(creation, state_answer(creation, AWAITING_REVIEW))
        language = self.safety_gate.language(review, creation)
        await self.safety_gate.ask(review, creation, await self.result(creation, request, language, files))

    async def result(
        self, creation: Creation, request: ImageRequest, language: str, files: EncodedFiles | None = None
    ) -> Result:
        """Compose the message of a finished creation.

        Without ``files``, reads them from the store; raises `ImageMissingError`.
        """
        files = files or await self._read_files(creation)
        notes = []
        if creation.parent_id:
            notes = [await note(creation, files.pictures, language) for note in self.result_notes]
        authorship = self.result_actions.authorship_text(creation, language) if creation.action else ""
        return Result(
            "\n".join(filter(None, [render.headline(request, language), authorship])),
            render.result_pictures(request, files.pictures, language),
            footer="\n".join(filter(None, notes)),
            source=render.source_picture(files.source, language) if files.source else None,
            rows=lambda: self.result_actions.rows(creation, len(files.pictures), language),
            spoiler=creation.spoiler,
            language=language,
        )

    async def _read_files(self, creation: Creation) -> EncodedFiles:
        pictures = [await self.image_store.read(name) for name in creation.pictures or ()]
        source = None
        if creation.source and len(pictures) < MAX_FILES:
            source = await self.image_store.read(creation.source)
        return EncodedFiles(pictures, source)

    # After a restart or a takeover

    async def resume_orphan(self, creation: Creation) -> None:
        """Resume a creation that was acquired from a dead process.

        This process may have abandoned the same creation before.
        """
        if untracked := self._abandoned.get(creation.id):
            await untracked.wait()
        if creation.id not in self.jobs:  # otherwise this process never stopped it
            await self.resume(creation)

    async def resume(self, creation: Creation) -> None:
        """Continue ``creation`` from its last recorded step."""
        async with self.finish_on_error(creation):
            if creation.state == State.IN_REVIEW:
                with contextlib.suppress(ImageMissingError):  # then the pictures are drawn and screened again
                    await self._finish(creation, await self.request_of(creation))
                    return
            if await self._has_ended(creation):
                return
            if self.step_watch.is_guilty(creation.id) or creation.attempts >= MAX_ATTEMPTS:
                raise DarkroomError(CRASHED_TOO_OFTEN)
            request = await self.request_of(creation)
            if creation.state == State.RENDERED:
                with contextlib.suppress(ImageMissingError):  # then the pictures are drawn again
                    await self._finish(creation, request)
                    return
            await self._draw_again(creation, request)

    async def _has_ended(self, creation: Creation) -> bool:
        """Look at the message; close ``creation`` if nothing is left to do.

        That is so if its result is posted, or if its message is gone.
        """
        try:
            message = await self.delivery.find(creation)
        except MessageUnreadableError:
            return False
        if message and shows_result_of(message, creation):
            await self.creation_store.finish(creation, State.DELIVERED, message_id=message.id)
            return True
        if message:
            await self.creation_store.update(creation, message_id=message.id)
            return False
        if creation.state == State.RENDERED:  # the result is posted as a new message
            return False
        reason = MESSAGE_DELETED if creation.message_id else NEVER_ANSWERED
        await self._end(creation, State.CANCELLED, reason)
        return True

    async def _draw_again(self, creation: Creation, request: ImageRequest) -> None:
        text = render.state_text(request.prompt, say(creation.language, render.RESUMING), creation.language)
        view = views.cancel_view(creation.owner, creation.id, creation.language)
        if not await self.delivery.announce(creation, Answer(text, view=view)):
            await self._end(creation, State.CANCELLED, MESSAGE_DELETED)
            return
        await self.draw(creation, request, text)

    async def draw(self, creation: Creation, request: ImageRequest, shown: str) -> None:
        """Draw a stored ``creation`` as soon as the queue has room; ``shown`` is what its message says."""
        async with self.finish_on_error(creation):
            await asyncio.sleep(self.step_watch.pause(creation.id))
            job = await self._submit(creation, request)
            self.track(creation, job)
            try:  # only now, because members can see and cancel a tracked job
                await self.creation_store.update(creation, attempts=creation.attempts)
            except OwnershipLostError:
                job.cancel()
                self.untrack(creation)
                raise
            await self.run(creation, job, shown)

    async def _submit(self, creation: Creation, request: ImageRequest) -> Job:
        async def submit() -> Job:
            job = self.engine.submit(request, owner=creation.owner, company=self.step_watch.company(creation.id))
            job.label = creation.id
            return job

        # The request was accepted once, so it waits for room in the queue.
        return await retry(submit, lambda error: isinstance(error, QueueFullError), max_wait=QUEUE_RETRY_SECONDS)

    async def request_of(self, creation: Creation) -> ImageRequest:
        """Restore the request of ``creation``.

        Raises `DarkroomError` with a text for the member where that is impossible.
        """
        if creation.request is None:
            raise DarkroomError(RESTARTED)
        try:
            return await self.restore_request(creation)
        except TypeError as error:
            raise InvalidRequestError("request", OUTDATED_REQUEST) from error

    async def restore_request(self, creation: Creation) -> ImageRequest:
        """Restore the request from its row.

        Raises `ImageMissingError`, and TypeError for a row of another version.
        """
        image = None
        mask = None
        if creation.source:
            image, mask = await asyncio.to_thread(read_masked, await self.image_store.read(creation.source))
        return request_from_json(creation.request or {}, image, mask)

    async def notify_interrupted(self, creations: Iterable[Creation]) -> None:
        """Announce the restart to the members of unfinished ``creations``.

        No job of these creations may still run.
        """
        unfinished = [creation for creation in creations if creation.state in (State.ACCEPTED, State.RUNNING)]
        answers = [state_answer(creation, render.RESTARTING) for creation in unfinished]
        await asyncio.gather(*map(self.delivery.announce, unfinished, answers), return_exceptions=True)

    # Errors and cancellation

    @contextlib.asynccontextmanager
    async def finish_on_error(self, creation: Creation) -> AsyncIterator[None]:
        """Move ``creation`` to its final state if the block raises.

        The member reads one sentence about the error, unless another process owns the creation now and answers instead.
        """
        try:
            yield
        except Exception as error:
            try:
                await self._finish_failed(creation, error)
            except OwnershipLostError:
                log.warning("%r belongs to another process now", creation)

    async def _finish_failed(self, creation: Creation, error: Exception) -> None:
        match error:
            case OwnershipLostError():
                raise error
            case JobCancelledError() if creation.id in self._abandoned:
                raise OwnershipLostError(repr(creation)) from error
            case JobCancelledError():
                await self.delivery.settle(creation, state_answer(creation, render.CANCELLED))
                await self._end(creation, State.CANCELLED)
            case UndeliverableError():
                await self._end(creation, State.FAILED, error)
            case NotShownError():
                await self._delete_files(creation)
                await self._fail(creation, error)
            case DarkroomError():
                await self._fail(creation, error)
            case _:
                log.error("%r failed", creation, exc_info=error)
                await self._fail(creation, DarkroomError(UNEXPECTED_ERROR))

    async def _fail(self, creation: Creation, error: DarkroomError) -> None:
        try:
            await self.delivery.deliver(creation, _state_answer(creation, translate(creation.language, error)))
        except UndeliverableError as undeliverable:
            log.warning("%r failed (%s), and its member does not know: %s", creation, error, undeliverable)
        await self._end(creation, State.FAILED, error)

    async def _end(self, creation: Creation, state: State, reason: Exception | str | None = None) -> None:
        """Move a failed or cancelled ``creation`` to ``state``; charge what was computed."""
        await self.creation_store.finish(
            creation, state, reason, counted=math.ceil(creation.counted * self._computed(creation))
        )

    def _computed(self, creation: Creation) -> float:
        """Return the computed share of ``creation``.

        If another process or an earlier run computed it, nobody knows how far it came, so it counts as a whole.
        """
        if job := self.jobs.get(creation.id):
            return 1 - job.share_left
        return 0.0 if creation.state == State.ACCEPTED else 1.0

    async def _delete_files(self, creation: Creation) -> None:
        """Delete the pictures and their source, unless other creations use the same files."""
        names = creation.files
        await self.creation_store.update(creation, pictures=None, source=None, timelapse=None)
        with contextlib.suppress(DarkroomError):
            await self.image_store.delete(names - await self.creation_store.used_files(names))

    async def cancel_acquired(self, creation: Creation, seconds: float) -> None:
        """Cancel a creation that was acquired from another process.

        That process may edit its progress for ``seconds`` more.
        """
        token = creation.token
        cancelled = state_answer(creation, render.CANCELLED)
        async with self.finish_on_error(creation):
            await self._end(creation, State.CANCELLED)
            creation.token = token  # `finish` has deleted it, but the two edits below need it
            await self.delivery.settle(creation, cancelled)
            await asyncio.sleep(seconds)
            await self.delivery.settle(creation, cancelled)


def state_answer(creation: Creation, state: Template) -> Answer:
    """Return a message with the prompt of the request and its ``state``."""
    return _state_answer(creation, say(creation.language, state))


def _state_answer(creation: Creation, sentence: str) -> Answer:
    request = creation.request
    text = render.state_text(request["prompt"], sentence, creation.language) if request else sentence
    return Answer(text, sentence=sentence if request else "")
