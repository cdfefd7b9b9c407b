"""The engine: an asyncio loop that draws the images of all jobs step by step.

Queue and futures change only on the event loop and tensors only in the worker threads, so nothing here needs a lock. There are
two such threads: on a CPU, short calls run beside a long one of another network.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress

from PIL import Image

from diffusion.config import EngineConfig
from diffusion.describer import Describer, describe
from diffusion.errors import DarkroomError, GenerationError, InvalidRequestError
from diffusion.families.model import ImageModel
from diffusion.request import ImageRequest
from diffusion.result import Flags
from diffusion.safety import SafetyCheck, screen
from diffusion.serving.admission import Load, load_of, require_room
from diffusion.serving.batcher import Batcher
from diffusion.serving.compiling import BackgroundCompiling
from diffusion.serving.forecast import estimate_jobs, estimate_new_job
from diffusion.serving.job import ImageTask, Job, report_places
from diffusion.serving.lanes import Lane
from diffusion.serving.latency import Shape, Step, is_decoding
from diffusion.serving.model_runner import as_image_error, release_memory
from diffusion.serving.offers import LoadModel, Offer
from diffusion.serving.price import Prices, Work
from diffusion.serving.residents import Hooks, Resident, Residents
from diffusion.serving.under_way import UnderWay
from diffusion.serving.worker_thread import CallHungError, ReplaceableWorker, in_own_thread
from diffusion.text import N_

log = logging.getLogger(__name__)
MAX_HUNG_THREADS = 3  # with more, the device is broken rather than a picture
ENGINE_STUCK = N_("The engine hangs again and again, so I cannot draw at the moment. Please tell the operator.")


class Engine:
    """Runs the jobs of many owners; images of one model and size share steps.

    ``async with Engine(model) as engine: job = engine.submit(request, owner)``. Leaving the block cancels unfinished jobs.
    `screen_images` uses ``safety_check``. ``config`` may be replaced; the new one applies from the next step and job on.
    ``model`` draws the requests that name none; ``name`` is its own, once several are offered (`offer`).
    """

    def __init__(
        self,
        model: ImageModel,
        config: EngineConfig | None = None,
        safety_check: SafetyCheck | None = None,
        *,
        name: str = "",
    ) -> None:
        self.config = config or EngineConfig()
        first = Resident(name)
        first.put(model, safety_check)
        hooks = Hooks(self._jobs_of_lane, self._finish_started, self._on_loaded, self._on_failed, self._release)
        self._residents = Residents(first, hooks, self.config.models_max_bytes)
        self._batcher: Batcher[ImageTask] = Batcher(self.config.max_rows)
        self._jobs: list[Job] = []
        self._work = asyncio.Event()  # set while there may be images to step
        self._going = asyncio.Event()  # cleared by `pause`
        self._going.set()
        self._switching = asyncio.Lock()
        self.watchers: list[Callable[[Step], None]] = []  # called with each step
        self._under_way = UnderWay()
        self.before_steps = self._under_way.listeners
        self._worker = ReplaceableWorker("diffusion")
        self._beside = ReplaceableWorker("diffusion, short calls")
        self._has_beside = model.device.type == "cpu"
        self._task: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()  # of LoRAs
        self._encoding = asyncio.Lock()
        self._readers: dict[Job, asyncio.Task[None]] = {}
        self._compiling: list[BackgroundCompiling] = []

    async def __aenter__(self) -> "Engine":
        self._task = asyncio.create_task(self._run(), name="diffusion engine")
        self._compile_in_background(self._residents.default)
        return self

    async def __aexit__(self, *_: object) -> None:
        for compiling in self._compiling:
            compiling.close()
        await self._residents.close()
        tasks = [*self._readers.values(), *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for job in list(self._jobs):
            job.cancel()
        for worker in (self._worker, self._beside):
            await asyncio.to_thread(worker.shutdown)

    def submit(self, request: ImageRequest, owner: Hashable = None, company: Hashable = None) -> Job:
        """Queue ``request``. Owners take turns; one owner's jobs run in order.

        Its images share network calls only with those of the same ``company``. Raises `InvalidRequestError` for values that
        the model or the limits do not allow, `QueueFullError` if too much work waits, and `GenerationError` while too many
        threads hang.
        """
        self.config.validate(request)
        lane = self._residents.lane(request.serving_model)
        lane.spec.validate(request)
        if self.hung_threads >= MAX_HUNG_THREADS:
            raise GenerationError(ENGINE_STUCK)
        require_room(self.config, self.load(), request, self.price)
        job = Job(request, owner, lane.spec, self._on_cancel)
        job.lane = lane
        job.company = company
        self._jobs.append(job)
        self._enqueue(job)
        report_places(self._batcher.waiting())
        if not lane.is_open:
            self._residents.arrange()
        return job

    def _enqueue(self, job: Job) -> None:
        """Queue the images of ``job``, as soon as what they need has been read from files."""
        if job in self._readers:
            return
        model = _lane_of(job).model
        if job.request.loras and model is None:  # `_on_loaded` queues them
            return
        if model and not model.is_ready_for(job.request):
            self._readers[job] = asyncio.create_task(self._read_for(job), name="read LoRAs and texts")
            return
        for image_task in job.image_tasks:
            self._batcher.add(image_task)
        self._work.set()

    async def _read_for(self, job: Job) -> None:
        """Read what ``job`` needs in a thread of its own while the engine draws, then queue its images."""
        try:
            async with self._reading if job.request.loras else self._encoding:  # reading a file may take long
                model = _lane_of(job).model
                if model:
                    await in_own_thread("reading", model.read_for, job.request)
        except Exception as error:
            self._drop(job)
            job.finish(as_image_error(error))
        finally:
            del self._readers[job]
        if job.done:
            return
        if model and model is _lane_of(job).model:
            for image_task in job.image_tasks:
                self._batcher.add(image_task)
            self._work.set()
            report_places(self._batcher.waiting())
        else:  # another model draws by now, or this one has left
            self._enqueue(job)

    def _assign(self, job: Job, lane: Resident) -> None:
        """Let the model of ``lane`` draw ``job``, which has not started."""
        for image_task in job.image_tasks:
            self._batcher.discard(image_task)
        job.lane = lane
        for image_task in job.image_tasks:
            image_task.assign(lane.spec)
        self._enqueue(job)

    @property
    def model(self) -> ImageModel:
        """What the model accepts that draws by default."""
        return self._residents.default.spec

    @property
    def models(self) -> Mapping[str, ImageModel]:
        """What the models accept that members can choose, by name."""
        return {name: lane.spec for name, lane in self._residents.offered.items()}

    def model_of(self, name: str) -> ImageModel:
        """Return what the model called ``name`` accepts, by default the default one; raises `InvalidRequestError`."""
        return self._residents.lane(name).spec

    @property
    def prices(self) -> Prices:
        """The prices of the default model's calls."""
        return self._residents.default.prices

    def jobs_of(self, owner: Hashable) -> int:
        """Count the unfinished jobs of ``owner``."""
        return sum(job.owner == owner for job in self._jobs)

    def price(self, request: ImageRequest) -> float:
        """Return the price of ``request`` in seconds, by what steps have taken so far."""
        lane = self._residents.lane(request.serving_model)
        return lane.prices.price(Work.of(request, lane.spec))

    def load(self, owner: Hashable = None) -> Load:
        """Return the unfinished work of ``owner``, by default that of all owners."""
        return load_of((job for job in self._jobs if owner in (None, job.owner)), _price_of)

    @property
    def hung_threads(self) -> int:
        """The number of threads that were left behind because they hang."""
        return self._worker.hung_threads + self._beside.hung_threads

    @property
    def resident_bytes(self) -> Mapping[str, int]:
        """The bytes of the weights of each model in memory, by name."""
        return {lane.name or lane.spec.name: lane.bytes for lane in self._residents.lanes if lane.is_loaded}

    def estimate_completion(self) -> dict[Job, float | None]:
        """Estimate the seconds until each unfinished job is done.

        Running jobs come first, then the others in order. None while the speed of this machine is unknown, and during a
        `pause`. Later jobs may delay it.
        """
        if self.paused:
            return dict.fromkeys(image_task.job for image_task in (*self._batcher.running(), *self._batcher.waiting()))
        return estimate_jobs(self._batcher, self._residents.simulated())

    def estimate_wait(self, request: ImageRequest, owner: Hashable = None) -> float | None:
        """Estimate the seconds until ``request`` would be done if it were submitted now, None if unknown."""
        lane = self._residents.lane(request.serving_model)
        self.config.validate(request)
        lane.spec.validate(request)
        if self.paused:
            return None
        job = Job(request, owner, lane.spec, lambda _: None)
        job.lane = lane
        return estimate_new_job(self._batcher, self._residents.simulated(), job)

    @property
    def can_screen(self) -> bool:
        """Whether there is a safety check of any loaded model."""
        return any(lane.safety_check for lane in self._residents.lanes)

    async def screen_images(self, images: Sequence[Image.Image], by: SafetyCheck | None = None) -> list[Flags]:
        """Return the labels for which each of ``images`` is flagged.

        The check runs between two steps, or beside a long one. Raises `GenerationError`. ``by`` replaces the present model's
        check, for images of another model.
        """
        check = by or self._residents.default.safety_check
        if check is None:
            return [{} for _ in images]
        try:
            return await self._free_worker.call(self.config.step_seconds, screen, check, images)
        except DarkroomError:
            raise
        except Exception as error:
            log.exception("pictures could not be checked")
            raise GenerationError("These pictures could not be checked, so I cannot show them.") from error

    async def describe_image(self, image: Image.Image, by: Describer) -> list[str]:
        """Return prompts that would draw ``image`` again.

        The network runs between two steps, or beside a long one. Raises `GenerationError`.
        """
        try:
            return await self._free_worker.call(self.config.step_seconds, describe, by, image)
        except DarkroomError:
            raise
        except Exception as error:
            log.exception("a picture could not be described")
            raise GenerationError("I could not describe this picture. Please try another one.") from error

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
        return {image_task.call_shape for image_task in self._batcher.running()}

    @property
    def alive(self) -> bool:
        """Whether the engine has been entered and not left, and works."""
        return self._task is not None and not self._task.done() and self.hung_threads < MAX_HUNG_THREADS

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

    async def offer(self, offers: Mapping[str, Offer]) -> None:
        """Let members choose models by name: these ``offers`` and no others.

        Models are loaded when they are asked for, while the engine draws with those that are there. Those that do not fit into
        memory together take turns.
        """
        await self._residents.offer(offers)

    async def switch(self, load: LoadModel, name: str = "") -> None:
        """Switch the default to the model called ``name``, or else to the one that ``load`` returns with its safety check.

        ``load`` runs in a thread of its own while the engine draws. The old model finishes the jobs that have started. The
        others that named no model wait for the new one; those that it cannot draw fail with `InvalidRequestError`. Raises what
        ``load`` raises, and `DarkroomError` during another switch; then nothing changes.
        """
        if self._switching.locked():
            raise DarkroomError("Another model is being loaded already. Please wait until it draws.")
        async with self._switching:
            lane = self._residents.offered.get(name) or Resident(name, load=load)
            await self._residents.require(lane)
            old = self._residents.default
            self._residents.default = lane
            for job in [job for job in self._jobs if job.started is None and not job.request.serving_model]:
                try:
                    lane.spec.validate(job.request)
                except InvalidRequestError as error:
                    self._drop(job)
                    job.finish(error)
                else:
                    self._assign(job, lane)
            self._work.set()
            if not old.is_offered:
                for job in self._jobs_of_lane(old):
                    with suppress(DarkroomError):
                        await job
                self._residents.forget_unused()
                await self._release()

    # What `Residents` asks of the engine

    def _jobs_of_lane(self, lane: Lane) -> list[Job]:
        """Return the unfinished jobs of ``lane``."""
        return [job for job in self._jobs if job.lane is lane]

    def _finish_started(self, lane: Lane) -> None:
        """Admit all images of the jobs of ``lane`` that have started."""
        started = [job for job in self._jobs_of_lane(lane) if job.started is not None]
        self._batcher.admit_beyond(image_task for job in started for image_task in job.image_tasks if image_task.image is None)

    def _on_loaded(self, lane: Resident) -> None:
        """Draw with a model that has been loaded."""
        for job in self._jobs_of_lane(lane):
            if job.request.loras and job.started is None:
                self._assign(job, lane)
        self._compile_in_background(lane)
        self._work.set()

    def _on_failed(self, lane: Resident, error: Exception) -> None:
        """End the jobs of a model that could not be loaded."""
        for job in self._jobs_of_lane(lane):
            self._drop(job)
            job.finish(as_image_error(error))

    async def _release(self) -> None:
        """Return the memory of models that have left to the system."""
        await self._worker.call(self.config.step_seconds, release_memory)

    def _compile_in_background(self, lane: Resident) -> None:
        if self.config.compile and lane.model:
            self._compiling = [compiling for compiling in self._compiling if not compiling.done.is_set()]
            self._compiling.append(BackgroundCompiling(lane.model, self.config.compile))

    @property
    def _free_worker(self) -> ReplaceableWorker:
        """The thread for a call of a network that no step uses."""
        is_busy = any(self._takes_long(step.batch) for step in self._under_way.steps)
        return self._beside if is_busy else self._worker

    def _takes_long(self, batch: Sequence[ImageTask]) -> bool:
        """Whether calls of other networks should run beside that of ``batch``."""
        return self._has_beside and self._batcher.is_long(batch)

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            await self._going.wait()
            batch = self._batcher.next_batch()
            if not batch:
                self._under_way.tell()
                self._work.clear()
            elif self._takes_long(batch):
                await self._step_long(batch)
            else:
                await self._step(batch, self._worker)

    async def _step_long(self, batch: Sequence[ImageTask]) -> None:
        """Step ``batch``, whose call takes long, and short batches of other networks beside it."""
        async with asyncio.TaskGroup() as group:
            long = group.create_task(self._step(batch, self._worker))
            long.add_done_callback(lambda _: self._work.set())
            await asyncio.sleep(0)  # it begins
            while not long.done():
                self._work.clear()
                if not self.paused and (short := self._batcher.next_beside(batch)):
                    await self._step(short, self._beside)
                else:
                    await self._work.wait()

    async def _step(self, batch: Sequence[ImageTask], worker: ReplaceableWorker) -> None:
        """Step ``batch`` in the thread of ``worker``."""
        step = self._under_way.begin(batch)
        for image_task in batch:
            if image_task.job.started is None:
                image_task.job.started = time.perf_counter()
                image_task.job.report(image_task.job.measured())
        shape = batch[0].shape
        rows = sum(image_task.rows for image_task in batch)
        began = time.perf_counter()
        is_typical = await self._advance(batch, worker)
        done = Step(shape, rows, time.perf_counter() - began)
        self._under_way.end(step)
        if is_typical and step.is_alone:
            _lane_of(batch[0].job).prices.latency.observe(*done)
        self._settle(batch)
        for watcher in () if is_decoding(shape) else self.watchers:
            watcher(done)

    async def _advance(self, batch: Sequence[ImageTask], worker: ReplaceableWorker) -> bool:
        """Step ``batch`` in the thread of ``worker``; return whether its time is typical."""
        try:
            runner = _lane_of(batch[0].job).runner
            assert runner is not None, "a model stays loaded while its images run"
            return await worker.call(self.config.step_seconds, runner.advance, batch, self.config.preview_seconds)
        except CallHungError:
            self._give_up_on(batch)
        except Exception as error:
            log.exception("a step failed")
            for image_task in batch:
                image_task.error = error
        return False

    def _give_up_on(self, batch: Sequence[ImageTask]) -> None:
        """Leave a hung step behind, and let each of its images begin anew alone.

        An image that was alone is the cause, so it fails. When too many threads hang, all jobs fail.
        """
        log.error(
            "a step of %d pictures hung for %g s; threads left behind: %d",
            len(batch),
            self.config.step_seconds,
            self.hung_threads,
        )
        if runner := _lane_of(batch[0].job).runner:
            runner.leave_behind()
        if self.hung_threads >= MAX_HUNG_THREADS:
            log.critical("%d threads hang, so I draw nothing until one returns. Restart me.", self.hung_threads)
            for job in list(self._jobs):
                self._drop(job)
                job.finish(GenerationError(ENGINE_STUCK))
        elif len(batch) == 1:
            batch[0].error = GenerationError("The engine got stuck on this picture. Please try again.")
        else:
            for image_task in batch:
                if not image_task.job.done:
                    self._batcher.replace(image_task, image_task.job.restart_alone(image_task, _lane_of(image_task.job).spec))

    def _settle(self, batch: Sequence[ImageTask]) -> None:
        """Report the results of a step to the jobs of ``batch``. On the event loop."""
        self._batcher.max_rows = self.config.max_rows
        lane = _lane_of(batch[0].job)
        lane.used = time.monotonic()
        if lane.runner:
            lane.rows_by_shape = lane.runner.fitting_rows.by_shape()
        for image_task in batch:
            if image_task.image is not None:
                self._batcher.discard(image_task)
            elif image_task.waits_for_memory:
                self._batcher.postpone(image_task)
        for job in {image_task.job: None for image_task in batch if not image_task.job.done}:  # each once, in order
            if error := next((image_task.error for image_task in job.image_tasks if image_task.error), None):
                self._drop(job)
                job.finish(as_image_error(error))
            elif all(image_task.image for image_task in job.image_tasks):
                self._forget(job)
                job.finish(_lane_of(job).result_of(job))
            else:
                job.report(job.measured())
        report_places(self._batcher.waiting())
        if len(self._residents.lanes) > 1:
            self._residents.arrange()

    def _drop(self, job: Job) -> None:
        for image_task in job.image_tasks:
            self._batcher.discard(image_task)
        self._forget(job)
        report_places(self._batcher.waiting())

    def _on_cancel(self, job: Job) -> None:
        self._drop(job)
        self._residents.arrange()

    def _forget(self, job: Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)


def _lane_of(job: Job) -> Resident:
    assert isinstance(job.lane, Resident), "the engine sets it"
    return job.lane


def _price_of(job: Job) -> float:
    lane = _lane_of(job)
    return lane.prices.price(Work.of(job.request, lane.spec))
