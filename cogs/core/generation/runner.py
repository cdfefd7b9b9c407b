"""What happens to a creation between its acceptance and its end; each step is journalled, so any of them may be the last."""

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from cogs.core.generation.endings import Endings, state_answer
from cogs.core.generation.reproduction import replay_note
from cogs.core.generation.safety_gate import HELD, NOT_SHOWN, REVIEWED, NotShownError, SafetyGate
from cogs.core.i18n.catalogues import say
from cogs.core.messages import render, views
from cogs.core.messages.deadline import while_token_lives
from cogs.core.messages.delivery import Delivery, MessageUnreadableError, shows_result_of
from cogs.core.messages.message import Answer, Picture, Result
from cogs.core.request.prompt_matrix import MOST as MOST_FILES
from cogs.core.retry import retry
from cogs.core.storage.creations import MODEL_LIMIT, Creation, CreationStore, OwnershipLostError, State, from_json
from cogs.core.storage.images import ImageMissingError, ImageStore
from cogs.core.storage.reviews import Decision
from diffusion.errors import DarkroomError, InvalidRequestError, JobCancelledError, QueueFullError
from diffusion.images.files import to_files
from diffusion.images.masks import read_masked
from diffusion.images.timelapse import to_film
from diffusion.request import ImageRequest
from diffusion.result import ImageResult
from diffusion.serving.interface import ImageEngine
from diffusion.serving.job import Job
from diffusion.text import N_

log = logging.getLogger(__name__)

EDIT_SECONDS = 1.5  # Discord allows about 5 edits in 5 seconds a channel, shared by all jobs in it
SUSPECT_ATTEMPTS = 3  # what was begun so often may be what ends the bot: it waits, longer each time
MAX_ATTEMPTS = 10  # and is left at last
QUEUE_SECONDS = 2.0
DELETED = "The message was deleted."
NEVER_SHOWN = "The answer was never shown."
UNPREPARED = N_("I was restarted while I prepared this. Please ask again.")
UNREADABLE = "I was updated meanwhile and cannot read this any more. Please ask again."


class JobRunner:
    """Makes and delivers what was accepted."""

    def __init__(
        self,
        engine: ImageEngine,
        creation_store: CreationStore,
        image_store: ImageStore,
        delivery: Delivery,
        safety_gate: SafetyGate,
    ) -> None:
        self.engine, self.creation_store, self.image_store, self.delivery, self.safety_gate = (
            engine,
            creation_store,
            image_store,
            delivery,
            safety_gate,
        )
        self.endings = Endings(creation_store, image_store, delivery)
        self.jobs: dict[int, Job] = {}  # by the id of their creation
        self._creations: dict[int, Creation] = {}
        self._lost: dict[int, asyncio.Event] = {}  # those that another process has taken over, set once they are let go

    def track(self, creation: Creation, job: Job) -> None:
        """Let ``job`` be cancelled from now on, even before it is followed."""
        self.jobs[creation.id], self._creations[creation.id] = job, creation

    def untrack(self, creation: Creation) -> None:
        """Forget what has ended."""
        self.jobs.pop(creation.id, None)
        self._creations.pop(creation.id, None)
        if gone := self._lost.pop(creation.id, None):
            gone.set()

    def abandon(self, creation_id: int) -> None:
        """Stop what another process has taken over, without a word to its member."""
        if job := self.jobs.get(creation_id):
            self._lost.setdefault(creation_id, asyncio.Event())
            job.cancel()

    async def run(self, creation: Creation, job: Job, shown: str) -> None:
        """Show the progress of ``job``, keep its pictures and deliver them; ``shown`` is what the message says already."""
        self.track(creation, job)
        beginning = asyncio.ensure_future(self._note_beginning(creation, job))
        try:
            async with self.endings.of(creation):
                async with while_token_lives(creation):
                    if not await self._show_progress(creation, job, shown):
                        await self.creation_store.close(creation, State.CANCELLED, DELETED)
                        return
                    result = await self._result_of(creation, job)
                await beginning
                judged = await self.safety_gate.screen(creation, result)
                pngs = await asyncio.to_thread(to_files, result)
                names = [await self.image_store.keep(png) for png in pngs]
                film = (
                    None if result.request.morph_to else await self.image_store.keep(await asyncio.to_thread(to_film, result))
                )
                made_by = {"model": result.model[:MODEL_LIMIT], "seconds": round(result.seconds, 3)}
                await self.creation_store.update(creation, pictures=names, film=film, **made_by, **judged)
                await self._finish(creation, job.request)
        finally:
            job.cancel()
            beginning.cancel()
            await asyncio.wait([beginning])  # it may hold a connection of the journal, which is closed once nobody follows
            self.untrack(creation)

    async def resume_orphan(self, creation: Creation) -> None:
        """Go on with ``creation``, which another process has left."""
        if gone := self._lost.get(creation.id):  # to that one, and is being stopped here
            await gone.wait()
        if creation.id not in self.jobs:  # else it never was stopped here
            await self.resume(creation)

    async def resume(self, creation: Creation) -> None:
        """Go on with ``creation`` after a restart from where it was, or where another process was with it."""
        async with self.endings.of(creation):
            if creation.state == State.HELD:
                with contextlib.suppress(ImageMissingError):  # made and judged again below
                    await self._finish(creation, await self.request_of(creation))
                    return
            looked, message = True, None
            try:
                message = await self.delivery.find(creation)
            except MessageUnreadableError:
                looked = False
            if message and shows_result_of(message, creation):
                await self.creation_store.close(creation, State.DELIVERED, message_id=message.id)
                return
            if looked and message is None and creation.state != State.RENDERED:
                await self.creation_store.close(creation, State.CANCELLED, DELETED if creation.message_id else NEVER_SHOWN)
                return
            if message:
                await self.creation_store.update(creation, message_id=message.id)
            if creation.attempts >= MAX_ATTEMPTS:
                raise DarkroomError("This stopped me again and again, so I leave it.")
            request = await self.request_of(creation)
            if creation.state == State.RENDERED:
                with contextlib.suppress(ImageMissingError):  # made again below
                    await self._finish(creation, request)
                    return
            text = render.state_text(request.prompt, say(creation.language, render.RESUMING), creation.language)
            view = views.cancel_view(creation.owner, creation.id, creation.language)
            if not await self.delivery.announce(creation, Answer(text, view=view)):
                await self.creation_store.close(creation, State.CANCELLED, DELETED)
                return
            if creation.attempts >= SUSPECT_ATTEMPTS:
                await asyncio.sleep(2 ** (creation.attempts - SUSPECT_ATTEMPTS))
            job = await self._submit(creation, request)
            self.track(creation, job)
            try:  # it may have been cancelled before that
                await self.creation_store.update(creation, attempts=creation.attempts)
            except OwnershipLostError:
                job.cancel()
                self.untrack(creation)
                raise
            await self.run(creation, job, text)

    @property
    def active(self) -> list[Creation]:
        """What is followed at the moment."""
        return list(self._creations.values())

    async def notify_interrupted(self, creations: Iterable[Creation]) -> None:
        """Tell those whose ``creations`` were interrupted that they go on after a restart. Nobody may follow them any more."""
        undone = [creation for creation in creations if creation.state in (State.ACCEPTED, State.RUNNING)]
        answers = [state_answer(creation, say(creation.language, render.PAUSED)) for creation in undone]
        await asyncio.gather(*map(self.delivery.announce, undone, answers), return_exceptions=True)

    def queue_snapshot(self) -> list[tuple[Creation, Job, float | None]]:
        """Give what is being made in the order of its turns, each with the estimated seconds until it is done."""
        creations = {job: self._creations[id] for id, job in self.jobs.items()}
        return [(creations[job], job, left) for job, left in self.engine.estimate_completion().items() if job in creations]

    async def _note_beginning(self, creation: Creation, job: Job) -> None:
        async for progress in job:
            if progress.place is None:
                try:
                    await self.creation_store.update(creation, state=State.RUNNING, attempts=creation.attempts + 1)
                except OwnershipLostError:
                    self.abandon(creation.id)
                return

    async def _result_of(self, creation: Creation, job: Job) -> ImageResult:
        try:
            return await job
        except JobCancelledError as error:
            if creation.id in self._lost:
                raise OwnershipLostError(repr(creation)) from error
            raise

    async def _show_progress(self, creation: Creation, job: Job, shown: str) -> bool:
        """Edit progress into the message until the job ends. False where the message was deleted: nobody waits then."""
        language, shows_previews = creation.language, self.safety_gate.shows_previews(creation)
        view = views.cancel_view(creation.owner, creation.id, language)
        async for progress in job:
            text = render.progress_text(job.request, progress, language)
            if text != shown:
                shown = text
                pictures: tuple[Picture, ...] = ()
                if shows_previews:
                    spoiler = creation.spoiler
                    pictures = await asyncio.to_thread(render.progress_pictures, job.request, progress, spoiler, language)
                if not await self.delivery.show(creation, Answer(text, pictures, view)):
                    return False
                companions = sum(other.channel_id == creation.channel_id for other in self._creations.values())
                await job.wait(EDIT_SECONDS * companions)
        return True

    async def _finish(self, creation: Creation, request: ImageRequest) -> None:
        """Post what is rendered; for what is held ask the moderators, or do what they have decided."""
        if creation.state == State.HELD:
            review = await self.safety_gate.review(creation)
            if review.decision is None:
                await self.delivery.announce(creation, state_answer(creation, say(creation.language, HELD)))
                language = self.safety_gate.language(review, creation)
                await self.safety_gate.ask(review, creation, await self.result(creation, request, language))
                return
            await self.safety_gate.close(review, creation)
            if review.decision == Decision.DELETE:
                raise NotShownError(REVIEWED if review.moderator else NOT_SHOWN)
            spoiler = creation.spoiler or review.decision == Decision.SPOILER
            await self.creation_store.update(creation, state=State.RENDERED, spoiler=spoiler)
        await self._post(creation, request)

    async def _post(self, creation: Creation, request: ImageRequest) -> None:
        message_id = await self.delivery.deliver(creation, await self.result(creation, request, creation.language))
        await self.creation_store.close(creation, State.DELIVERED, message_id=message_id)

    async def result(self, creation: Creation, request: ImageRequest, language: str) -> Result:
        """Compose the message of a finished creation; raises `ImageMissingError`."""
        pngs = [await self.image_store.read(name) for name in creation.pictures or ()]
        shows_source = len(pngs) < MOST_FILES  # which it is one of
        source = await self.image_store.read(creation.source) if creation.source and shows_source else None
        replay = await replay_note(creation, self.creation_store, self.image_store, language)
        return Result(
            render.headline(request, language),
            render.result_pictures(request, pngs, language),
            settings="\n".join(filter(None, (render.settings_line(request, request.seeds, language), replay))),
            source=render.source_picture(source, language) if source else None,
            rows=lambda: views.result_rows(creation.owner, creation.id, len(pngs), creation.film is not None, language),
            spoiler=creation.spoiler,
            language=language,
        )

    async def request_of(self, creation: Creation) -> ImageRequest:
        """Read what was asked for; raises `DarkroomError` where that cannot be told any more."""
        if creation.request is None:
            raise DarkroomError(UNPREPARED)
        try:
            return await self.recall(creation)
        except TypeError as error:
            raise InvalidRequestError("request", UNREADABLE) from error

    async def recall(self, creation: Creation) -> ImageRequest:
        """Read from the journal and the gallery what was asked for; raises `ImageMissingError` where its source is gone."""
        image = mask = None
        if creation.source:
            image, mask = await asyncio.to_thread(read_masked, await self.image_store.read(creation.source))
        return from_json(creation.request or {}, image, mask)

    async def _submit(self, creation: Creation, request: ImageRequest) -> Job:
        async def submit() -> Job:
            return self.engine.submit(request, owner=creation.owner)

        # The request was accepted once, so it waits for room in the queue.
        return await retry(submit, lambda error: isinstance(error, QueueFullError), max_wait=QUEUE_SECONDS)
