"""The models in memory: loads them as work needs them, and lets them go when others need their room."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from diffusion.errors import DarkroomError, ModelLoadError
from diffusion.families.model import ImageModel
from diffusion.loading.device import is_out_of_memory
from diffusion.loading.memory import device_bytes, model_bytes
from diffusion.result import ImageResult
from diffusion.safety import SafetyCheck
from diffusion.serving.forecast import SimulatedLanes
from diffusion.serving.job import Job
from diffusion.serving.lanes import Lane, Move, next_move
from diffusion.serving.model_runner import ModelRunner
from diffusion.serving.offers import LoadModel, Offer, choose
from diffusion.serving.worker_thread import in_own_thread

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Resident(Lane):
    """The lane of a model, with the model itself and its ``runner`` while it is loaded.

    It was ``described`` without its weights, and can be loaded by ``load``. Members can choose it if ``is_offered``.
    """

    described: ImageModel | None = None
    load: LoadModel | None = None
    is_offered: bool = False
    model: ImageModel | None = None
    safety_check: SafetyCheck | None = None
    runner: ModelRunner | None = None
    loaded: "asyncio.Future[None] | None" = None  # what `Residents.require` waits for

    @property
    def spec(self) -> ImageModel:
        """What the model accepts."""
        spec = self.model or self.described
        assert spec is not None, "a lane is used once it is described or loaded"
        return spec

    def put(self, model: ImageModel, safety_check: SafetyCheck | None) -> None:
        """Hold the loaded ``model``, and begin a turn."""
        self.model = model
        self.safety_check = safety_check
        self.runner = ModelRunner(model)
        self.bytes = self.bytes or model_bytes(model)
        self.open(time.monotonic())

    def evict(self) -> None:
        """Leave the memory."""
        super().evict()
        self.model = self.runner = None
        self.rows_by_shape = {}

    def result_of(self, job: Job) -> ImageResult:
        """Return the result of ``job``, whose images are complete."""
        images = tuple(image_task.image for image_task in job.image_tasks if image_task.image)
        timelapses = tuple(image_task.timelapse for image_task in job.image_tasks if image_task.timelapse)
        seconds = time.perf_counter() - (job.started or 0)
        upscaler = self.model and self.model.upscaler
        name = upscaler.name if upscaler and job.request.by_upscaler else self.spec.name
        return ImageResult(job.request, images, job.request.seeds, seconds, name, timelapses, self.safety_check)


@dataclass(frozen=True)
class Hooks:
    """What the residents ask of their engine.

    ``jobs_of`` are the unfinished jobs of a lane. ``finish_started`` admits all images of its jobs that have started,
    ``on_loaded`` draws with its model, and ``on_failed`` ends its jobs with an error. ``release`` returns the memory of models
    that have left to the system.
    """

    jobs_of: Callable[[Lane], list[Job]]
    finish_started: Callable[[Lane], None]
    on_loaded: Callable[[Resident], None]
    on_failed: Callable[[Resident, Exception], None]
    release: Callable[[], Awaitable[None]]


class Residents:
    """Holds a ``first`` model and those that are loaded later, within ``max_bytes`` (None: what the device has).

    Everything happens on the event loop, but `Offer.load` and `Offer.describe` run in a thread of their own.
    """

    def __init__(self, first: Resident, hooks: Hooks, max_bytes: int | None = None) -> None:
        self.default = first
        self.lanes: list[Resident] = [first]
        self._hooks = hooks
        self.max_bytes = max_bytes
        self._device_bytes = device_bytes(first.spec.device)
        self._learned_bytes = float("inf")  # below what ran out of memory
        self._has_evicted = False  # since memory was returned to the system
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def offered(self) -> Mapping[str, Resident]:
        """The lanes that members can choose, by name."""
        return {lane.name: lane for lane in self.lanes if lane.is_offered}

    def lane(self, name: str) -> Resident:
        """Return the lane called ``name``, by default that of the default model; raises `InvalidRequestError`."""
        return choose(self.offered, name) if name else self.default

    @property
    def room(self) -> float:
        """The most bytes that all loaded models may take together."""
        return min(self.max_bytes or self._device_bytes, self._learned_bytes)

    async def offer(self, offers: Mapping[str, Offer]) -> None:
        """Let members choose ``offers`` by name, and no others.

        A model that cannot be described is left out, and the log says why.
        """
        known = {lane.name: lane for lane in self.lanes if lane.name}
        for lane in self.lanes:
            lane.is_offered = lane.name in offers
        for name, offer in offers.items():
            lane = known.get(name) or Resident(name)
            lane.load = offer.load
            if name not in known or (lane is self.default and len(offers) > 1):
                try:
                    lane.described, lane.bytes = await in_own_thread("describing", offer.describe)
                except ModelLoadError as error:
                    log.warning("the model %s is not offered: %s", name, error)
                    if not lane.is_loaded:
                        continue
            if lane not in self.lanes:
                self.lanes.append(lane)
            lane.is_offered = True
        self.forget_unused()

    def forget_unused(self) -> None:
        """Let models go that nobody can choose any more."""
        for lane in [lane for lane in self.lanes if not lane.is_offered and lane is not self.default]:
            if not self._hooks.jobs_of(lane) and not lane.is_loading and lane.loaded is None:
                lane.evict()
                self.lanes.remove(lane)

    async def require(self, lane: Resident) -> None:
        """Wait until ``lane`` is loaded; raises what its loading raises."""
        if lane.is_loaded:
            return
        if lane not in self.lanes:
            self.lanes.append(lane)
        lane.loaded = lane.loaded or asyncio.get_running_loop().create_future()
        try:
            self.arrange()
            await asyncio.shield(lane.loaded)
        finally:
            lane.loaded = None

    def arrange(self) -> None:
        """Load, close and evict models as the unfinished jobs need them."""
        now = time.monotonic()
        jobs = {lane: self._hooks.jobs_of(lane) for lane in self.lanes}
        for lane in self.lanes:
            is_needed = not lane.is_loaded and (jobs[lane] or lane.loaded)
            lane.wanted = (now if lane.wanted is None else lane.wanted) if is_needed else None
        running = {lane for lane in self.lanes if any(job.started is not None for job in jobs[lane])}
        running |= {lane for lane in self.lanes if lane.load is None or lane.described is None}  # it would not come back
        waiting = {lane for lane in self.lanes if any(job.started is None for job in jobs[lane])}
        while move := next_move(self.lanes, running, waiting, room=self.room, now=now):
            kind, lane = move
            log.debug("%s %s", kind.name, lane.name)
            if kind is Move.LOAD:
                lane.is_loading = True
                self._start(self._load(lane))
            elif kind is Move.CLOSE:
                lane.close()
                self._hooks.finish_started(lane)
            elif kind is Move.EVICT:
                lane.evict()
                self._has_evicted = True
                lane.wanted = now if lane in waiting else None
            else:
                lane.open(now)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, lane: Any) -> None:
        try:
            if self._has_evicted:
                self._has_evicted = False
                await self._hooks.release()
            began = time.monotonic()
            model, safety_check = await in_own_thread("loading", lane.load)
        except Exception as error:
            lane.is_loading = False
            self._on_failed(lane, error)
        else:
            lane.measured_load_seconds = time.monotonic() - began
            lane.put(model, safety_check)
            log.info("loaded the model %s in %.1f s", lane.name or model.name, lane.measured_load_seconds)
            self._hooks.on_loaded(lane)
            if lane.loaded:
                lane.loaded.set_result(None)
        self.arrange()

    def _on_failed(self, lane: Resident, error: Exception) -> None:
        others = sum(other.bytes for other in self.lanes if other.is_loaded)
        if is_out_of_memory(error) and others and not lane.loaded:
            log.warning("there is no room for %s beside the models that are loaded, so they take turns", lane.name)
            self._learned_bytes = others + lane.bytes - 1
            return
        log.warning("the model %s could not be loaded: %s", lane.name, error)
        if lane.loaded:
            lane.loaded.set_exception(error)
            lane.loaded = None
        self._hooks.on_failed(lane, error)

    def simulated(self) -> SimulatedLanes:
        """Return the lanes for a forecast."""
        return SimulatedLanes(self.lanes, self.room, time.monotonic())

    async def close(self) -> None:
        """Stop loading."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, DarkroomError):
                await task
