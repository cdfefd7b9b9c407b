"""The asyncio face of a model: jobs go in, progress and pictures come out, every step serves all of them.

Queue and futures change only on the event loop, tensors only in the one worker thread; so nothing here needs a lock.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import replace

from PIL import Image

from diffusion.config import EngineConfig
from diffusion.errors import DarkroomError, GenerationError, InvalidRequestError, QueueFullError
from diffusion.families.model import ImageModel
from diffusion.request import ImageRequest
from diffusion.result import Flags, ImageResult
from diffusion.safety import SafetyCheck, screen
from diffusion.serving.batcher import Batcher
from diffusion.serving.job import ImageTask, Job
from diffusion.serving.latency import LatencyModel, Shape, estimate_completion
from diffusion.serving.model_runner import ModelRunner, as_image_error, compile_model, release_memory
from diffusion.serving.worker_thread import WorkerThread
from diffusion.text import plural

log = logging.getLogger(__name__)
ROWS_AT_FIRST, FEWEST_ROWS, MOST_ROWS = 16, 8, 64  # of a network call, where nobody says how many
Load = Callable[[], tuple[ImageModel, SafetyCheck | None]]


class Engine:
    """Runs the jobs of many owners on one model, their images stacked into shared steps.

    ``async with Engine(model) as engine: job = engine.submit(request, owner)``. Leaving the block cancels what is unfinished.
    ``screen_images`` is what `screen_images` asks about finished pictures.
    Another ``config`` may be put in place of the first; it holds from the next step on, and for jobs to come.
    """

    def __init__(self, model: ImageModel, config: EngineConfig | None = None, check: SafetyCheck | None = None) -> None:
        self.model, self.config, self._check = model, config or EngineConfig(), check
        self._batcher: Batcher[ImageTask] = Batcher(self.config.max_rows or ROWS_AT_FIRST)
        self._jobs: list[Job] = []
        self._latency = LatencyModel()
        self._work, self._going = asyncio.Event(), asyncio.Event()
        self._going.set()
        self._switching = asyncio.Lock()
        self.watchers: list[Callable[[int, float], None]] = []  # told the rows and the seconds of each step
        self._worker, self._runner = WorkerThread("diffusion"), ModelRunner(model)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Engine":
        self._task = asyncio.create_task(self._run(), name="diffusion engine")
        self._compile_aside()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        for job in list(self._jobs):
            job.cancel()
        await asyncio.to_thread(self._worker.shutdown)

    def submit(self, request: ImageRequest, owner: Hashable = None) -> Job:
        """Queue ``request``. Owners take turns; one owner's jobs run in order.

        Raises `InvalidRequestError` for what the model or the configured limits do not allow, `QueueFullError` when too much is waiting.
        """
        self.config.validate(request)
        self.model.validate(request)
        if len(self._batcher) + request.count > self.config.max_waiting:
            raise QueueFullError(
                plural(
                    "{count} picture is waiting already, which is all I take. Please try again in a minute.",
                    "{count} pictures are waiting already, which is all I take. Please try again in a minute.",
                ),
                count=len(self._batcher),
            )
        job = Job(request, owner, self.model, self._drop)
        self._jobs.append(job)
        for image_task in job.image_tasks:
            self._batcher.add(image_task)
        self._report_places()
        self._work.set()
        return job

    def jobs_of(self, owner: Hashable) -> int:
        """Count the unfinished jobs of ``owner``."""
        return sum(job.owner == owner for job in self._jobs)

    def estimate_completion(self) -> dict[Job, float | None]:
        """Estimate in how many seconds each unfinished job is done: those that run, then the others in their order.

        None until the pace of this machine is known, and during a `pause`. Who comes later and takes a turn in between is not
        foreseen.
        """
        latency = LatencyModel() if self.paused else self._latency
        done = estimate_completion(self._batcher, latency)
        jobs: dict[Job, float | None] = {}
        for image_task, seconds in done.items():
            jobs[image_task.job] = None if seconds is None else max(seconds, jobs.get(image_task.job) or 0)
        return jobs

    @property
    def can_screen(self) -> bool:
        """Whether `screen_images` has anything to ask."""
        return self._check is not None

    async def screen_images(self, images: Sequence[Image.Image], by: SafetyCheck | None = None) -> list[Flags]:
        """Say for which labels each of ``images`` is flagged, between two steps; raises `GenerationError`.

        ``by`` checks what another model made; without, that of the present one does.
        """
        check = by or self._check
        if check is None:
            return [{} for _ in images]
        checking = asyncio.get_running_loop().run_in_executor(self._worker, screen, check, images)
        try:
            return await asyncio.wait_for(checking, self.config.step_seconds)
        except DarkroomError:
            raise
        except Exception as error:
            log.exception("pictures could not be checked")
            raise GenerationError("These pictures could not be checked, so I cannot show them.") from error

    @property
    def unfinished(self) -> int:
        """How many pictures wait or are being made."""
        return len(self._batcher)

    @property
    def queued(self) -> int:
        """How many rows the calls of the network still have to come, over all unfinished pictures."""
        return sum(image_task.rows * image_task.left for job in self._jobs for image_task in job.image_tasks)

    @property
    def shapes(self) -> set[Shape]:
        """The shapes of latents that step at present."""
        return {image_task.shape for image_task in self._batcher.running()}

    @property
    def alive(self) -> bool:
        """Whether it runs: it has been entered and not left."""
        return self._task is not None and not self._task.done()

    @property
    def paused(self) -> bool:
        """Whether `pause` holds everything back."""
        return not self._going.is_set()

    def pause(self) -> None:
        """Let everything stand where it is after the step under way, until `resume`. Jobs are still taken."""
        self._going.clear()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._going.set()

    async def switch(self, load: Load) -> None:
        """Draw with the model, and check with the check, that ``load`` gives, in a thread of its own while pictures go on.

        What has begun is finished by the model before. What waits begins with the new one; where that cannot make it, it ends
        with `InvalidRequestError`. Raises what ``load`` raises, and `DarkroomError` during another switch; then nothing changes.
        """
        if self._switching.locked():
            raise DarkroomError("Another model is being loaded already. Please wait until it draws.")
        async with self._switching:
            loop, loader = asyncio.get_running_loop(), WorkerThread("loading")
            try:
                model, check = await loop.run_in_executor(loader, load)
            finally:
                loader.shutdown(wait=False)
            await self._finish_begun()
            self.model, self._check, self._runner, self._latency = model, check, ModelRunner(model), LatencyModel()
            waiting, self._batcher = list(self._batcher.waiting()), Batcher(self.config.max_rows or ROWS_AT_FIRST)
            for image_task in waiting:
                image_task.assign(model)
                self._batcher.add(image_task)
            for job in list(self._jobs):
                try:
                    model.validate(job.request)
                except InvalidRequestError as error:
                    self._drop(job)
                    job.finish(error)
            self._work.set()
            await loop.run_in_executor(self._worker, release_memory)
            self._compile_aside()

    def _compile_aside(self) -> None:
        if self.config.compile:
            compiler = WorkerThread("compiling")
            compiler.submit(compile_model, self.model)
            compiler.shutdown(wait=False)

    async def _finish_begun(self) -> None:
        """Let nothing more begin until what has begun is finished."""
        begun = {image_task.job: None for image_task in self._batcher.running()} | {
            job: None for job in self._jobs if job.started
        }
        self._batcher.close(image_task for job in begun for image_task in job.image_tasks if image_task.image is None)
        for job in begun:
            with suppress(DarkroomError):
                await job

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._work.wait()
            await self._going.wait()
            batch = self._batcher.next_batch()
            if not batch:
                self._work.clear()
                continue
            for image_task in batch:
                if image_task.job.started is None:
                    image_task.job.started = time.perf_counter()
                    image_task.job.report(image_task.job.measured())
            rows, began = sum(image_task.rows for image_task in batch), time.perf_counter()
            work = loop.run_in_executor(self._worker, self._runner.advance, batch, self.config.preview_seconds)
            finished, _ = await asyncio.wait([work], timeout=self.config.step_seconds)
            seconds = time.perf_counter() - began
            if finished:
                self._latency.observe(batch[0].shape, rows, seconds)
            else:
                self._give_up_on(batch)
            self._settle(batch)
            for watcher in self.watchers:
                watcher(rows, seconds)

    def _give_up_on(self, batch: Sequence[ImageTask]) -> None:
        """Leave a hung step behind, with the thread it hangs in, and go on in another."""
        log.error("a step of %d pictures hung for %g s; its worker is replaced", len(batch), self.config.step_seconds)
        self._worker.shutdown(wait=False)
        self._worker = WorkerThread("diffusion")
        for image_task in batch:
            image_task.error = GenerationError("The engine got stuck on this picture. Please try again.")

    def _settle(self, batch: Sequence[ImageTask]) -> None:
        """Tell the jobs of ``batch`` what became of it. On the event loop."""
        self._batcher.max_rows = min(self._useful_rows(), self._runner.fitting_rows)
        for image_task in batch:
            if image_task.image is not None:
                self._batcher.discard(image_task)
        for job in {image_task.job: None for image_task in batch if not image_task.job.done}:  # each once, in order
            if error := next((image_task.error for image_task in job.image_tasks if image_task.error), None):
                self._drop(job)
                job.finish(as_image_error(error))
            elif all(image_task.image for image_task in job.image_tasks):
                self._forget(job)
                job.finish(self._result(job))
            else:
                job.report(job.measured())
        self._report_places()

    def _useful_rows(self) -> int:
        if self.config.max_rows:
            return self.config.max_rows
        saturation_rows = self._latency.saturation_rows()
        return ROWS_AT_FIRST if saturation_rows is None else round(min(max(saturation_rows, FEWEST_ROWS), MOST_ROWS))

    def _result(self, job: Job) -> ImageResult:
        images = tuple(image_task.image for image_task in job.image_tasks if image_task.image)
        timelapses = tuple(image_task.timelapse for image_task in job.image_tasks if image_task.timelapse)
        seconds = time.perf_counter() - (job.started or 0)
        return ImageResult(job.request, images, job.request.seeds, seconds, self.model.name, timelapses, self._check)

    def _report_places(self) -> None:
        told = set()
        for place, image_task in enumerate(self._batcher.waiting()):
            job = image_task.job
            if job.started is None and job not in told:
                told.add(job)
                job.report(replace(job.progress, place=place))

    def _drop(self, job: Job) -> None:
        for image_task in job.image_tasks:
            self._batcher.discard(image_task)
        self._forget(job)
        self._report_places()

    def _forget(self, job: Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
