"""The engine: an asyncio loop that draws the images of all jobs step by step.

Queue and futures change only on the event loop and tensors only in the worker thread, so nothing here needs a lock.
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
# Rows of a network call, unless `EngineConfig` sets them: at first, and the bounds of the measured optimum.
INITIAL_ROWS = 16
MIN_ROWS = 8
MAX_ROWS = 64
Load = Callable[[], tuple[ImageModel, SafetyCheck | None]]


class Engine:
    """Runs the jobs of many owners on one model; images of one size share steps.

    ``async with Engine(model) as engine: job = engine.submit(request, owner)``. Leaving the block cancels unfinished jobs.
    `screen_images` uses ``safety_check``. ``config`` may be replaced; the new one applies from the next step and job on.
    """

    def __init__(self, model: ImageModel, config: EngineConfig | None = None, safety_check: SafetyCheck | None = None) -> None:
        self.model = model
        self.config = config or EngineConfig()
        self._safety_check = safety_check
        self._batcher: Batcher[ImageTask] = Batcher(self.config.max_rows or INITIAL_ROWS)
        self._jobs: list[Job] = []
        self._latency = LatencyModel()
        self._work = asyncio.Event()  # set while there may be images to step
        self._going = asyncio.Event()  # cleared by `pause`
        self._going.set()
        self._switching = asyncio.Lock()
        self.watchers: list[Callable[[int, float], None]] = []  # called with the rows and the seconds of each step
        self._worker = WorkerThread("diffusion")
        self._runner = ModelRunner(model)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Engine":
        self._task = asyncio.create_task(self._run(), name="diffusion engine")
        self._compile_in_background()
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

        Raises `InvalidRequestError` for values that the model or the limits do not allow, `QueueFullError` if too many images
        wait.
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
        """Estimate the seconds until each unfinished job is done.

        Running jobs come first, then the others in order. None while the speed of this machine is unknown, and during a
        `pause`. Later jobs may delay it.
        """
        latency = LatencyModel() if self.paused else self._latency
        done = estimate_completion(self._batcher, latency)
        jobs: dict[Job, float | None] = {}
        for image_task, seconds in done.items():
            jobs[image_task.job] = None if seconds is None else max(seconds, jobs.get(image_task.job) or 0)
        return jobs

    @property
    def can_screen(self) -> bool:
        """Whether there is a safety check."""
        return self._safety_check is not None

    async def screen_images(self, images: Sequence[Image.Image], by: SafetyCheck | None = None) -> list[Flags]:
        """Return the labels for which each of ``images`` is flagged.

        The check runs between two steps. Raises `GenerationError`. ``by`` replaces the present model's check, for
        images of another model.
        """
        check = by or self._safety_check
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
        """How many images wait or run."""
        return len(self._batcher)

    @property
    def queued(self) -> int:
        """How many rows all network calls to come have, over all unfinished images."""
        return sum(image_task.rows * image_task.left for job in self._jobs for image_task in job.image_tasks)

    @property
    def shapes(self) -> set[Shape]:
        """The latent shapes of the running images."""
        return {image_task.shape for image_task in self._batcher.running()}

    @property
    def alive(self) -> bool:
        """Whether the engine has been entered and not left."""
        return self._task is not None and not self._task.done()

    @property
    def paused(self) -> bool:
        """Whether the engine is paused."""
        return not self._going.is_set()

    def pause(self) -> None:
        """Stop after the current step, until `resume`; jobs are still accepted."""
        self._going.clear()

    def resume(self) -> None:
        """Continue after `pause`."""
        self._going.set()

    async def switch(self, load: Load) -> None:
        """Switch to the model and safety check that ``load`` returns.

        ``load`` runs in a thread of its own while the engine draws. The old model finishes the jobs that have started. The
        others wait for the new one; those that it cannot draw fail with `InvalidRequestError`. Raises what ``load`` raises,
        and `DarkroomError` during another switch; then nothing changes.
        """
        if self._switching.locked():
            raise DarkroomError("Another model is being loaded already. Please wait until it draws.")
        async with self._switching:
            loop = asyncio.get_running_loop()
            loader = WorkerThread("loading")
            try:
                model, safety_check = await loop.run_in_executor(loader, load)
            finally:
                loader.shutdown(wait=False)
            await self._finish_started()
            self.model = model
            self._safety_check = safety_check
            self._runner = ModelRunner(model)
            self._latency = LatencyModel()
            waiting = list(self._batcher.waiting())
            self._batcher = Batcher(self.config.max_rows or INITIAL_ROWS)
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
            self._compile_in_background()

    def _compile_in_background(self) -> None:
        if self.config.compile:
            compiler = WorkerThread("compiling")
            compiler.submit(compile_model, self.model)
            compiler.shutdown(wait=False)

    async def _finish_started(self) -> None:
        """Start no further image until all started jobs are finished."""
        started = {image_task.job: None for image_task in self._batcher.running()} | {
            job: None for job in self._jobs if job.started
        }
        self._batcher.close(image_task for job in started for image_task in job.image_tasks if image_task.image is None)
        for job in started:
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
            rows = sum(image_task.rows for image_task in batch)
            began = time.perf_counter()
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
        """Abandon a hung step together with its thread, and continue in another."""
        log.error("a step of %d pictures hung for %g s; its worker is replaced", len(batch), self.config.step_seconds)
        self._worker.shutdown(wait=False)
        self._worker = WorkerThread("diffusion")
        for image_task in batch:
            image_task.error = GenerationError("The engine got stuck on this picture. Please try again.")

    def _settle(self, batch: Sequence[ImageTask]) -> None:
        """Report the results of a step to the jobs of ``batch``. On the event loop."""
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
        return INITIAL_ROWS if saturation_rows is None else round(min(max(saturation_rows, MIN_ROWS), MAX_ROWS))

    def _result(self, job: Job) -> ImageResult:
        images = tuple(image_task.image for image_task in job.image_tasks if image_task.image)
        timelapses = tuple(image_task.timelapse for image_task in job.image_tasks if image_task.timelapse)
        seconds = time.perf_counter() - (job.started or 0)
        return ImageResult(job.request, images, job.request.seeds, seconds, self.model.name, timelapses, self._safety_check)

    def _report_places(self) -> None:
        reported = set()
        for place, image_task in enumerate(self._batcher.waiting()):
            job = image_task.job
            if job.started is None and job not in reported:
                reported.add(job)
                job.report(replace(job.progress, place=place))

    def _drop(self, job: Job) -> None:
        for image_task in job.image_tasks:
            self._batcher.discard(image_task)
        self._forget(job)
        self._report_places()

    def _forget(self, job: Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
