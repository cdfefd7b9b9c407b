"""The bot's engine on a cluster: the interface of `Engine`, drawn by replicas."""

import asyncio
import contextvars
import logging
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from PIL import Image
from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception_type, wait_exponential

from diffusion.cluster.client_timeouts import (
    CONNECT_TIMEOUT_SECONDS,
    FIRST_RETRY_SECONDS,
    MAX_RETRY_SECONDS,
    SILENCE_TIMEOUT_SECONDS,
    STALL_SECONDS,
    UNREACHABLE_ERRORS,
    WAITING_STALL_SECONDS,
    RefusedError,
    raise_for_refusal,
)
from diffusion.cluster.framing import MAX_RESPONSE_BYTES, MEDIA_TYPE, BrokenFrameError, decode_frame, encode_frame, read_frame
from diffusion.cluster.headers import ROUTING_KEY_HEADER, bearer, format_routing_key
from diffusion.cluster.losses import Losses
from diffusion.cluster.remote_safety import RemoteSafetyCheck
from diffusion.cluster.schema import (
    ProgressMessage,
    RemoteModel,
    decode_result,
    encode_request,
    parse_error,
    parse_progress,
)
from diffusion.config import EngineConfig
from diffusion.errors import DarkroomError, GenerationError, ModelLoadError, QueueFullError, as_darkroom_error
from diffusion.request import ImageRequest
from diffusion.result import Flags, ImageResult, Progress
from diffusion.serving.admission import QUEUE_FULL, Load, load_of, require_room
from diffusion.serving.job import Job
from diffusion.serving.latency import LatencyModel, Step
from diffusion.serving.offers import LoadModel, Offer, choose
from diffusion.serving.price import Prices, Work
from diffusion.serving.worker_thread import in_own_thread
from diffusion.text import N_

log = logging.getLogger(__name__)

CONNECT_GIVE_UP_SECONDS: Final = 600.0  # of attempts to reach a replica

FAILED: Final = N_("Something went wrong while the picture was made. Please try again.")

# Replicas are on the own network: ignore the proxies of the environment.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def load(engine: str, name: str, secret: str = "") -> tuple[RemoteModel, RemoteSafetyCheck | None]:
    """Return the model ``name`` of ``engine``, and its safety check if it has one.

    ``engine`` is an HTTP address whose replicas ask for ``secret``. Call this in a thread. Raises `ModelLoadError`.
    """
    url = f"{engine.rstrip('/')}/{quote(name)}"
    headers = bearer(secret)
    try:
        with _open(urllib.request.Request(url, headers=headers), timeout=SILENCE_TIMEOUT_SECONDS) as answer:
            model = RemoteModel(url, decode_frame(answer.read(MAX_RESPONSE_BYTES), MAX_RESPONSE_BYTES), headers)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 401:
            raise ModelLoadError(name, f"{engine} asks for another ENGINE_SECRET. Set it to that of the replicas.") from error
        raise ModelLoadError(name, f"{engine} does not serve this model ({error}).") from error
    except (OSError, HTTPException, BrokenFrameError) as error:
        raise ModelLoadError(name, f"{engine} cannot be reached: {error}") from error
    return model, RemoteSafetyCheck(url, headers) if model.can_screen else None


class _ReplicaLostError(Exception):
    """The connection to the replica of a job broke."""


@dataclass
class _RemoteJob:
    """A job on a replica.

    ``seconds_left`` is the estimate that the replica reported at ``reported_at``. ``lost_at`` is the number of steps that a
    lost replica had completed.
    """

    model: RemoteModel
    check: RemoteSafetyCheck | None
    prices: Prices
    task: "asyncio.Task[None] | None" = None
    seconds_left: float | None = None
    reported_at: float = 0.0
    lost_at: int = 0


@dataclass
class _ServedModel:
    """A model of the cluster, its safety check, and the prices of its calls."""

    model: RemoteModel
    check: RemoteSafetyCheck | None
    prices: Prices = field(default_factory=lambda: Prices(LatencyModel()))


class RemoteEngine:
    """Sends each job to one of the replicas of its model, which Ray Serve runs.

    It has the methods of `Engine` and returns the same images. If a job's replica is lost, another one starts the job again.
    Leaving the ``async with`` block cancels unfinished jobs. Of ``config``, only ``max_waiting``,
    ``max_waiting_seconds``, ``limits`` and ``step_seconds`` apply here.
    """

    def __init__(
        self,
        model: RemoteModel,
        config: EngineConfig | None = None,
        safety_check: RemoteSafetyCheck | None = None,
        *,
        name: str = "",
    ) -> None:
        self.config = config or EngineConfig()
        self._default = _ServedModel(model, safety_check)
        self._name = name
        self._served: dict[str, _ServedModel] = {}  # those that members can choose
        self.watchers: list[Callable[[Step], None]] = []  # receive each step of a replica
        self.before_steps: list[Callable[[Sequence[Job]], None]] = []  # never called: no step runs in this process
        self._jobs: dict[Job, _RemoteJob] = {}
        self._full_until: dict[str, float] = {}  # by the address of a model
        self._suspect_turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # the same
        self._running = asyncio.Event()
        self._running.set()

    async def __aenter__(self) -> "RemoteEngine":
        self._context = contextvars.copy_context()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),  # one connection per job
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=SILENCE_TIMEOUT_SECONDS),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [remote_job.task for remote_job in self._jobs.values() if remote_job.task]
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    def submit(self, request: ImageRequest, owner: Hashable = None, company: Hashable = None) -> Job:
        """Send ``request`` to a replica.

        There owners take turns, and each owner's requests start in order; ``company`` does not matter there. Raises
        `InvalidRequestError` if the model or the configured limits do not allow the request, and `QueueFullError`.
        """
        self.config.validate(request)
        served = self._served_model(request.serving_model)
        served.model.validate(request)
        if time.perf_counter() < self._full_until.get(served.model.url, 0.0):
            raise QueueFullError(QUEUE_FULL, count=self.unfinished)
        require_room(self.config, self.load(), request, self.price)
        job = Job(request, owner, served.model, self._drop)
        job.report(replace(job.progress, place=sum(other.request.count for other in self._jobs if other.started is None)))
        self._jobs[job] = _RemoteJob(served.model, served.check, served.prices)
        self._start(job)
        return job

    @property
    def model(self) -> RemoteModel:
        """What the model accepts that draws by default."""
        return self._default.model

    @property
    def models(self) -> Mapping[str, RemoteModel]:
        """What the models accept that members can choose, by name."""
        return {name: served.model for name, served in self._served.items()}

    def model_of(self, name: str) -> RemoteModel:
        """Return what the model called ``name`` accepts, by default the default one; raises `InvalidRequestError`."""
        return self._served_model(name).model

    @property
    def prices(self) -> Prices:
        """The prices of the default model's calls."""
        return self._default.prices

    def _served_model(self, name: str) -> _ServedModel:
        return choose(self._served, name) if name else self._default

    def jobs_of(self, owner: Hashable) -> int:
        """Count the unfinished jobs of ``owner``."""
        return sum(job.owner == owner for job in self._jobs)

    def price(self, request: ImageRequest) -> float:
        """Return the price of ``request`` in seconds of a replica.

        It follows from the steps that the replicas have reported.
        """
        served = self._served_model(request.serving_model)
        return served.prices.price(Work.of(request, served.model))

    def load(self, owner: Hashable = None) -> Load:
        """Return the unfinished work of ``owner``, by default that of all owners."""
        return load_of((job for job in self._jobs if owner in (None, job.owner)), self._price_of)

    def _price_of(self, job: Job) -> float:
        remote_job = self._jobs[job]
        return remote_job.prices.price(Work.of(job.request, remote_job.model))

    @property
    def hung_threads(self) -> int:
        """The number of hung threads in this process: none, as steps run elsewhere."""
        return 0

    @property
    def resident_bytes(self) -> Mapping[str, int]:
        """The bytes of the models in this process: none, as replicas hold them."""
        return {}

    def estimate_completion(self) -> dict[Job, float | None]:
        """Estimate the seconds until each unfinished job is done.

        Running jobs come first, then the others in order. None for a job whose replica has not reported yet, and for all jobs
        during a `pause`.
        """
        now = time.perf_counter()
        estimates: dict[Job, float | None] = {}
        for job in sorted(self._jobs, key=lambda job: (job.started is None, job.progress.place or 0)):
            remote_job = self._jobs[job]
            known = remote_job.seconds_left is not None and not self.paused
            estimates[job] = max(0.0, (remote_job.seconds_left or 0.0) - (now - remote_job.reported_at)) if known else None
        return estimates

    def estimate_wait(self, request: ImageRequest, owner: Hashable = None) -> float | None:
        """Estimate the seconds until ``request`` would be done if it were submitted now.

        It is put behind the jobs of its model that wait already, wherever that is; other bots' are not known.
        """
        served = self._served_model(request.serving_model)
        self.config.validate(request)
        served.model.validate(request)
        waiting = [
            seconds or 0.0
            for job, seconds in self.estimate_completion().items()
            if job.started is None and self._jobs[job].model is served.model
        ]
        return max(waiting, default=0.0) + self.price(request)

    @property
    def can_screen(self) -> bool:
        """Whether a model has a safety check."""
        return any(served.check for served in (self._default, *self._served.values()))

    async def screen_images(self, images: Sequence[Image.Image], by: RemoteSafetyCheck | None = None) -> list[Flags]:
        """Return the labels for which each image is flagged; raises `GenerationError`.

        ``by`` is the check to use, by default that of the present model.
        """
        check = by or self._default.check
        if check is None:
            return [{} for _ in images]
        return await check(self._session, images, self.config.step_seconds)

    @property
    def unfinished(self) -> int:
        """The number of images that wait or are being drawn."""
        return sum(job.request.count for job in tuple(self._jobs))  # the thread of the metrics reads it, too

    @property
    def paused(self) -> bool:
        """Whether `pause` holds back the waiting jobs."""
        return not self._running.is_set()

    def pause(self) -> None:
        """Take waiting jobs back from the replicas until `resume`. Running jobs go on."""
        self._running.clear()
        for job, remote_job in self._jobs.items():
            if job.started is None and remote_job.task:
                remote_job.task.cancel()
                self._start(job)

    def resume(self) -> None:
        """Send the jobs that `pause` held back."""
        self._running.set()

    async def offer(self, offers: Mapping[str, Offer]) -> None:
        """Let members choose models by name: these ``offers`` and no others.

        A model that the cluster does not serve is left out, and the log says why.
        """
        served: dict[str, _ServedModel] = {}
        for name, offer in offers.items():
            known = self._default if name == self._name else self._served.get(name)
            try:
                served[name] = known or _ServedModel(*await in_own_thread("describing", offer.load))
            except ModelLoadError as error:
                log.warning("the model %s is not offered: %s", name, error)
        self._served = served

    async def switch(self, load: LoadModel, name: str = "") -> None:
        """Use the model called ``name``, or else the one that ``load`` returns with its check, for jobs that name none.

        Earlier jobs keep theirs. Raises what ``load`` raises, and then nothing changes.
        """
        self._default = self._served.get(name) or _ServedModel(*await in_own_thread("loading", load))
        self._name = name

    def _served_as(self, model: RemoteModel) -> _ServedModel | None:
        return next((served for served in (self._default, *self._served.values()) if served.model is model), None)

    def _start(self, job: Job) -> None:
        # The task outlives the caller, so it does not run in the caller's context.
        self._jobs[job].task = self._context.run(asyncio.create_task, self._follow(job))

    def _drop(self, job: Job) -> None:
        remote_job = self._jobs.pop(job, None)
        if remote_job and remote_job.task:
            remote_job.task.cancel()  # this closes the connection, which cancels the job on the replica

    async def _follow(self, job: Job) -> None:
        """Finish ``job`` with its result or its error."""
        try:
            outcome: ImageResult | DarkroomError = await self._draw(job)
        except DarkroomError as error:
            outcome = error
        except Exception as error:
            log.exception("following a request failed")
            outcome = as_darkroom_error(error)
        self._jobs.pop(job, None)
        job.finish(outcome)

    async def _draw(self, job: Job) -> ImageResult:
        """Send ``job`` to one replica after another until one returns its result.

        Raises `DarkroomError`.
        """
        remote_job = self._jobs[job]
        head, files = await asyncio.to_thread(encode_request, job.request, _plain_owner(job.owner))
        losses = Losses()
        while True:
            try:
                if not losses.is_suspect:
                    alone = {"alone": True} if job.draws_anew else {}
                    return await self._draw_on_one(job, remote_job, encode_frame(head | alone, files))
                async with self._suspect_turns[remote_job.model.url]:
                    return await self._draw_on_one(job, remote_job, encode_frame(head | {"alone": True}, files))
            except _ReplicaLostError as loss:
                remote_job.seconds_left = None
                losses.add(job.progress.place)
                if job.progress.place is None:
                    remote_job.lost_at = max(remote_job.lost_at, job.progress.completed)
                    job.report(replace(job.progress, resuming=True))
                if losses.is_guilty:
                    log.error("a request broke one replica after another and is given up")
                    raise GenerationError(FAILED) from loss
                await asyncio.sleep(FIRST_RETRY_SECONDS)
            except RefusedError as error:
                log.error("a replica refused a request: %s", error)
                raise GenerationError(FAILED) from error
            except UNREACHABLE_ERRORS as error:
                raise GenerationError(FAILED) from error

    async def _draw_on_one(self, job: Job, remote_job: _RemoteJob, body: bytes) -> ImageResult:
        """Retry until a replica takes ``job``, and return its result.

        Raises `_ReplicaLostError` if that replica is lost, and one of `UNREACHABLE_ERRORS` after `CONNECT_GIVE_UP_SECONDS`.
        """
        reached = time.perf_counter()

        async def attempt() -> ImageResult:
            nonlocal reached
            if self.paused:
                await self._running.wait()
                reached = time.perf_counter()
            last_report = remote_job.reported_at
            try:
                return await self._post(job, remote_job, body)
            except QueueFullError:
                reached = time.perf_counter()
                # By then this job has tried again.
                self._full_until[remote_job.model.url] = reached + 2 * MAX_RETRY_SECONDS
                raise
            except UNREACHABLE_ERRORS as error:
                if remote_job.reported_at > last_report:
                    log.warning("a replica was lost: %r", error)
                    raise _ReplicaLostError from error
                raise

        retrying = AsyncRetrying(
            retry=retry_if_exception_type((QueueFullError, *UNREACHABLE_ERRORS)),  # an accepted job waits for room
            stop=lambda _: time.perf_counter() - reached > CONNECT_GIVE_UP_SECONDS,
            wait=wait_exponential(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS),
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        return await retrying(attempt)

    async def _post(self, job: Job, remote_job: _RemoteJob, body: bytes) -> ImageResult:
        """Post ``body`` to one replica and return its result.

        Raises the error that the replica sends, or one of `UNREACHABLE_ERRORS`.
        """
        request = job.request
        url = f"{remote_job.model.url}/pictures"
        shape = remote_job.model.call_shape(request)
        routing_key = format_routing_key(shape, self.price(request))
        headers = remote_job.model.headers | {"Content-Type": MEDIA_TYPE, ROUTING_KEY_HEADER: routing_key}
        previews: tuple[Image.Image, ...] = ()
        moved_at = time.perf_counter()
        moved: tuple[int | None, int] = (None, -1)
        async with self._session.post(url, data=body, headers=headers) as response:
            await raise_for_refusal(response)
            while True:
                head, files = await read_frame(response.content, MAX_RESPONSE_BYTES)
                if "result" in head:
                    return await asyncio.to_thread(decode_result, head["result"], files, request, remote_job.check)
                if "error" in head:
                    raise parse_error(head["error"])
                message = parse_progress(head.get("progress"))
                if moved != (message.place, message.completed):
                    moved = message.place, message.completed
                    moved_at = time.perf_counter()
                elif time.perf_counter() - moved_at > (STALL_SECONDS if message.place is None else WAITING_STALL_SECONDS):
                    raise BrokenFrameError("The replica makes no progress.")
                progress = await asyncio.to_thread(message.progress, previews, files)
                previews = progress.previews
                self._report(job, remote_job, message, progress)

    def _report(self, job: Job, remote_job: _RemoteJob, message: ProgressMessage, progress: Progress) -> None:
        """Pass a replica's progress message on to ``job`` and the watchers."""
        remote_job.seconds_left = message.seconds
        remote_job.reported_at = time.perf_counter()
        if progress.place is None and job.started is None:
            job.started = remote_job.reported_at
        job.report(replace(progress, resuming=progress.completed < remote_job.lost_at))
        for step in message.measured_steps():
            if step.shape and (served := self._served_as(remote_job.model)):
                served.prices.latency.observe(*step)
            for watcher in self.watchers:
                watcher(step)


def _plain_owner(owner: Any) -> int | str | None:
    return owner if owner is None or isinstance(owner, (int, str)) else str(owner)
