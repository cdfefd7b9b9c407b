"""The engine as the bot holds it where pictures are made elsewhere: the same methods, and jobs of the same kind."""

import asyncio
import contextvars
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from PIL import Image
from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception_type, wait_exponential

from diffusion.cluster.check import RemoteCheck
from diffusion.cluster.client_timeouts import CONNECT_SECONDS, FIRST_WAIT, LONGEST_WAIT, SILENCE_SECONDS, UNREACHED
from diffusion.cluster.framing import MAX_ANSWER, MEDIA_TYPE, BrokenFrameError, pack, read, unpack
from diffusion.cluster.schema import KEY_HEADER, Refused, RemoteModel, Told, key_of, question, read_done
from diffusion.config import EngineConfig
from diffusion.errors import DarkroomError, GenerationError, ModelLoadError, QueueFullError, as_darkroom_error
from diffusion.request import ImageRequest
from diffusion.result import Flags, ImageResult
from diffusion.serving.job import Job
from diffusion.serving.worker_thread import WorkerThread
from diffusion.text import plural

log = logging.getLogger(__name__)

CONNECT_GIVE_UP_AFTER: Final = 600.0  # seconds of tries to reach a replica
MAX_LOSSES: Final = 5  # what loses its replica so often may be what ends it
WAITED: Final = 0.25  # of a loss, where others were seen to come first: it may have begun unseen

FAILED: Final = "Something went wrong while the picture was made. Please try again."

Load = Callable[[], tuple[RemoteModel, RemoteCheck | None]]
# Proxies that the environment names are for the world outside.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def load(engine: str, name: str) -> tuple[RemoteModel, RemoteCheck | None]:
    """Ask the ``engine``, an HTTP address, what its model ``name`` takes; raises `ModelLoadError`.

    Gives what checks its pictures besides, if anything does. Call it in a thread.
    """
    url = f"{engine.rstrip('/')}/{quote(name)}"
    try:
        with _open(url, timeout=SILENCE_SECONDS) as answer:
            model = RemoteModel(url, unpack(answer.read(MAX_ANSWER), MAX_ANSWER))
    except urllib.error.HTTPError as error:
        raise ModelLoadError(name, f"{engine} does not serve it ({error}).") from error
    except (OSError, HTTPException, BrokenFrameError) as error:
        raise ModelLoadError(name, f"{engine} cannot be asked for it: {error}") from error
    return model, RemoteCheck(url) if model.checks else None


class _ReplicaLostError(Exception):
    """The connection to the replica that makes a job broke off."""


@dataclass
class _Followed:
    """A job, the model that it was asked of, and what was told of it last; ``lost_at`` is where a lost replica was."""

    model: RemoteModel
    check: RemoteCheck | None
    task: "asyncio.Task[None] | None" = None
    left: float | None = None
    told: float = 0.0
    lost_at: int = 0


class RemoteEngine:
    """Has the jobs of many owners made by replicas that Ray Serve runs, one of which each goes to.

    It has the methods of `Engine`, and gives the same pictures. A job whose replica is lost is made again by another. Leaving
    the ``async with`` block takes back what is unfinished. Of ``config``, ``max_waiting`` and ``limits`` count
    here, and ``step_seconds`` for a check.
    """

    def __init__(self, model: RemoteModel, config: EngineConfig | None = None, check: RemoteCheck | None = None) -> None:
        self.model, self.config, self._check = model, config or EngineConfig(), check
        self.watchers: list[Callable[[int, float], None]] = []  # told the rows and the seconds of each step
        self._jobs: dict[Job, _Followed] = {}
        self._going, self._full_until = asyncio.Event(), 0.0
        self._going.set()

    async def __aenter__(self) -> "RemoteEngine":
        self._context = contextvars.copy_context()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),  # as many as there are jobs, each used once
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [followed.task for followed in self._jobs.values() if followed.task]
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    def submit(self, request: ImageRequest, owner: Hashable = None) -> Job:
        """Send ``request`` to a replica. There owners take turns, and one owner's requests begin in the order of their arrival.

        Raises `InvalidRequestError` for what the model or the configured limits do not allow, `QueueFullError` when too much is waiting.
        """
        self.config.validate(request)
        self.model.validate(request)
        if self.unfinished + request.count > self.config.max_waiting or time.perf_counter() < self._full_until:
            raise QueueFullError(
                plural(
                    "{count} picture is waiting already, which is all I take. Please try again in a minute.",
                    "{count} pictures are waiting already, which is all I take. Please try again in a minute.",
                ),
                count=self.unfinished,
            )
        job = Job(request, owner, self.model.latent_shape(request.width, request.height), self._drop)
        job.report(replace(job.progress, place=sum(other.request.count for other in self._jobs if other.started is None)))
        self._jobs[job] = _Followed(self.model, self._check)
        self._start(job)
        return job

    def jobs_of(self, owner: Hashable) -> int:
        """Count the unfinished jobs of ``owner``."""
        return sum(job.owner == owner for job in self._jobs)

    def estimate_completion(self) -> dict[Job, float | None]:
        """Estimate in how many seconds each unfinished job is done: those that run, then the others in their order.

        None where its replica has not told, and during a `pause`.
        """
        now = time.perf_counter()
        foreseen: dict[Job, float | None] = {}
        for job in sorted(self._jobs, key=lambda job: (job.started is None, job.progress.place or 0)):
            followed = self._jobs[job]
            known = followed.left is not None and not self.paused
            foreseen[job] = max(0.0, (followed.left or 0.0) - (now - followed.told)) if known else None
        return foreseen

    @property
    def can_screen(self) -> bool:
        """Whether `screen_images` has anything to ask."""
        return self._check is not None

    async def screen_images(self, images: Sequence[Image.Image], by: RemoteCheck | None = None) -> list[Flags]:
        """Say for which labels each of ``images`` is flagged; raises `GenerationError`.

        ``by`` checks what another model made; without, that of the present one does.
        """
        check = by or self._check
        if check is None:
            return [{} for _ in images]
        return await check(self._session, images, self.config.step_seconds)

    @property
    def unfinished(self) -> int:
        """How many pictures wait or are being made."""
        return sum(job.request.count for job in self._jobs)

    @property
    def paused(self) -> bool:
        """Whether `pause` holds back what has not begun."""
        return not self._going.is_set()

    def pause(self) -> None:
        """Let begin no more until `resume`: what waits at a replica is taken back. What has begun is finished."""
        self._going.clear()
        for job, followed in self._jobs.items():
            if job.started is None and followed.task:
                followed.task.cancel()
                self._start(job)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._going.set()

    async def switch(self, load: Load) -> None:
        """Ask the model, and the check, that ``load`` gives from now on. What was asked of the one before is made by it.

        Raises what ``load`` raises; then nothing changes.
        """
        loader = WorkerThread("loading")
        try:
            self.model, self._check = await asyncio.get_running_loop().run_in_executor(loader, load)
        finally:
            loader.shutdown(wait=False)

    def _start(self, job: Job) -> None:
        # Not in the context of whoever asks: what is followed outlives that.
        self._jobs[job].task = self._context.run(asyncio.create_task, self._follow(job))

    def _drop(self, job: Job) -> None:
        followed = self._jobs.pop(job, None)
        if followed and followed.task:
            followed.task.cancel()  # which closes the connection, and that is how a replica is told

    async def _follow(self, job: Job) -> None:
        """See to it that ``job`` ends, whatever becomes of its replicas."""
        try:
            outcome: ImageResult | DarkroomError = await self._made(job)
        except DarkroomError as error:
            outcome = error
        except Exception as error:
            log.exception("a request could not be followed")
            outcome = as_darkroom_error(error)
        self._jobs.pop(job, None)
        job.finish(outcome)

    async def _made(self, job: Job) -> ImageResult:
        """Have ``job`` made, by one replica after another until one succeeds; raises `DarkroomError`."""
        followed = self._jobs[job]
        asked = pack(*await asyncio.to_thread(question, job.request, _plain(job.owner)))
        losses = 0.0
        while True:
            try:
                return await self._made_by_one(job, followed, asked)
            except _ReplicaLostError as loss:
                followed.left = None
                if job.progress.place is None:
                    losses += 1
                    followed.lost_at = max(followed.lost_at, job.progress.completed)
                    job.report(replace(job.progress, resuming=True))
                else:
                    losses += WAITED
                if losses >= MAX_LOSSES:
                    raise GenerationError(FAILED) from loss
                await asyncio.sleep(FIRST_WAIT)
            except UNREACHED as error:
                raise GenerationError(FAILED) from error

    async def _made_by_one(self, job: Job, followed: _Followed, asked: bytes) -> ImageResult:
        """Ask until a replica takes ``job``; raises `_ReplicaLostError` where it is lost then, and one of `UNREACHED`."""
        reached = time.perf_counter()

        async def ask() -> ImageResult:
            nonlocal reached
            if self.paused:
                await self._going.wait()
                reached = time.perf_counter()
            begun = followed.told
            try:
                return await self._asked(job, followed, asked)
            except QueueFullError:
                reached = time.perf_counter()
                self._full_until = reached + 2 * LONGEST_WAIT  # before which it has asked again
                raise
            except UNREACHED as error:
                if followed.told > begun:
                    log.warning("a replica was lost: %r", error)
                    raise _ReplicaLostError from error
                raise

        retrying = AsyncRetrying(
            retry=retry_if_exception_type((QueueFullError, *UNREACHED)),  # a job that was accepted waits for room
            stop=lambda _: time.perf_counter() - reached > CONNECT_GIVE_UP_AFTER,
            wait=wait_exponential(FIRST_WAIT, LONGEST_WAIT),
            before_sleep=before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        return await retrying(ask)

    async def _asked(self, job: Job, followed: _Followed, asked: bytes) -> ImageResult:
        """Ask one replica; raises the error that it tells, or one of `_UNREACHED`."""
        request, url = job.request, f"{followed.model.url}/pictures"
        shape = followed.model.latent_shape(request.width, request.height)
        rows = request.count * request.evaluations * (2 if request.uses_guidance else 1)
        headers = {"Content-Type": MEDIA_TYPE, KEY_HEADER: key_of(shape, rows)}
        previews: tuple[Image.Image, ...] = ()
        async with self._session.post(url, data=asked, headers=headers) as answer:
            answer.raise_for_status()
            while True:
                head, files = await read(answer.content, MAX_ANSWER)
                if "done" in head:
                    return await asyncio.to_thread(read_done, head["done"], files, request, followed.check)
                if "refused" in head:
                    raise Refused.model_validate(head["refused"]).error()
                previews = await self._hear(job, followed, Told.model_validate(head["told"]), files, previews)

    async def _hear(
        self, job: Job, followed: _Followed, told: Told, files: list[bytes], previews: tuple[Image.Image, ...]
    ) -> tuple[Image.Image, ...]:
        """Pass on what a replica tells about ``job``, and give the previews by now."""
        progress = await asyncio.to_thread(told.progress, previews, files)
        followed.left, followed.told = told.seconds, time.perf_counter()
        if progress.place is None and job.started is None:
            job.started = followed.told
        job.report(replace(progress, resuming=progress.completed < followed.lost_at))
        for rows, seconds in told.steps:
            for watcher in self.watchers:
                watcher(rows, seconds)
        return progress.previews


def _plain(owner: Any) -> int | str | None:
    return owner if owner is None or isinstance(owner, (int, str)) else str(owner)
