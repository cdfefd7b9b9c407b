"""One engine behind HTTP: images with progress, screening, the model's spec."""

import asyncio
import functools
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from PIL import Image
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from diffusion.cluster.framing import MEDIA_TYPE, BrokenFrameError, Frame, decode_frame, decode_image, encode_frame
from diffusion.cluster.ingress import Ingress, IngressError, max_body_bytes
from diffusion.cluster.schema import decode_request, encode_error, encode_progress, encode_result, encode_spec
from diffusion.errors import DarkroomError, GenerationError, as_darkroom_error
from diffusion.images.screening import SCREENED_AT_ONCE, SCREENED_SIDE
from diffusion.request import ImageRequest
from diffusion.serving.job import Job
from diffusion.serving.latency import Step

if TYPE_CHECKING:
    from diffusion.serving.engine import Engine

log = logging.getLogger(__name__)
REPORT_SECONDS: Final = 0.2  # between two progress reports of a request
HEARTBEAT_SECONDS: Final = 5.0  # between reports without news; clients take a silent replica for lost
ESTIMATE_SECONDS: Final = 0.5  # how long an estimate of completion is reused
STEPS_KEPT: Final = 1000  # for the next progress report
TEXTS_KEPT: Final = 1000  # whose numbers of tokens are known
MAX_FAILURES: Final = 3  # in a row that no request caused: the device may be broken
Asked = tuple[ImageRequest, int | str | None, bool]  # a request, its owner, and whether it shares calls with no other


class UnhealthyError(RuntimeError):
    """The engine is broken: its requests have to go to another replica."""


class Replica:
    """Serves the running ``engine`` over HTTP to those who send ``secret``.

    A client cancels its request when it closes the connection.
    """

    def __init__(self, engine: "Engine", secret: str) -> None:
        self.engine = engine
        self._ingress = Ingress(secret)
        # `_decode` counts tokens in a thread, so that the engine finds them counted when it validates the request again.
        model: Any = engine.model
        model.count_tokens = functools.lru_cache(TEXTS_KEPT)(model.count_tokens)
        self._steps: deque[Step] = deque(maxlen=STEPS_KEPT)
        self._estimate: dict[Job, float | None] = {}
        self._estimated_at = 0.0
        self._stats_version = 0
        self._failures = 0
        self._failed_at = 0.0
        engine.watchers.append(self._steps.append)

    async def __call__(self, http: Request) -> Response:
        """Answer an HTTP request.

        GET returns the model's spec. POST draws at ``…/pictures`` and screens images at ``…/screenings``.
        """
        endpoint = http.url.path.rstrip("/").rpartition("/")[2]
        try:
            self._ingress.check_sender(http)
            if http.method == "GET":
                return _answer(encode_spec(self.engine.model, self.engine.can_screen))
            if http.method != "POST" or endpoint not in ("pictures", "screenings"):
                return PlainTextResponse("Not found.", 404)
            await self.check_health()  # an error here makes the client ask another replica
            max_bytes = max_body_bytes(endpoint, self.engine.config.limits)
            async with self._ingress.slots:
                frame = decode_frame(await self._ingress.read_body(http, max_bytes), max_bytes)
                prepared = await self._prepare(frame) if endpoint == "pictures" else None
        except IngressError as error:
            return PlainTextResponse(str(error), error.status)
        except BrokenFrameError as error:
            return PlainTextResponse(str(error), 400)
        if prepared is None:
            return _answer(await self._screen(frame))
        if isinstance(prepared, DarkroomError):
            return _answer(encode_error(prepared))
        return StreamingResponse(self._draw(*prepared), media_type=MEDIA_TYPE)

    async def record_routing_stats(self) -> dict[str, Any]:
        """Report queued seconds and latent shapes to the routers.

        A broken engine reports an infinite queue. ``stats_version`` numbers the reports.
        """
        self._stats_version += 1
        queued = math.inf if self._problem else self.engine.load().seconds
        return {"queued": queued, "shapes": [list(shape) for shape in self.engine.shapes], "stats_version": self._stats_version}

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Report to the autoscaler the queue in rows of network calls."""
        return {"queued": float(self.engine.queued)}

    async def check_health(self) -> None:
        """Raise `UnhealthyError` if the engine is broken; Serve then restarts this replica."""
        if self._problem:
            raise UnhealthyError(self._problem)

    @property
    def _problem(self) -> str:
        if not self.engine.alive:
            return "the engine has ended"
        return f"{self._failures} requests failed one after another" if self._failures >= MAX_FAILURES else ""

    async def _prepare(self, frame: Frame) -> Asked | DarkroomError:
        """Return what the bot asks for, or the error for its member."""
        try:
            return await asyncio.to_thread(self._decode, frame)
        except Exception as error:
            return _as_member_error(error)

    def _decode(self, frame: Frame) -> Asked:
        config = self.engine.config
        request, owner, is_alone = decode_request(frame, config.limits)
        config.validate(request)
        self.engine.model.validate(request)
        return request, owner, is_alone

    async def _draw(self, request: ImageRequest, owner: int | str | None, is_alone: bool) -> AsyncIterator[bytes]:
        """Yield progress frames of a request, then its result or its error."""
        try:
            job = self.engine.submit(request, owner, company=object() if is_alone else None)
            job.draws_anew = is_alone
        except Exception as error:
            yield encode_frame(*encode_error(_as_member_error(error)))
            return
        try:
            reported = None
            reported_at = 0.0
            previews: tuple[Image.Image, ...] = ()
            while not job.done:
                await self.check_health()  # Serve would wait all of `grace_seconds` for a request that never ends
                progress = job.progress
                now = time.perf_counter()
                if progress is not reported or now - reported_at > HEARTBEAT_SECONDS:
                    steps = [self._steps.popleft() for _ in range(len(self._steps))]
                    seconds = self._seconds_left(job)
                    yield encode_frame(*await asyncio.to_thread(encode_progress, progress, previews, seconds, steps))
                    reported = progress
                    reported_at = now
                    previews = progress.previews
                if progress.place is None:
                    await job.wait(REPORT_SECONDS)
                else:  # the bot has to know what was begun if the first step ends this process
                    await job.wait_to_begin(REPORT_SECONDS)
            result = await job
            self._failures = 0
            yield encode_frame(*await asyncio.to_thread(encode_result, result))
        except UnhealthyError:  # a broken connection makes the client ask another replica
            raise
        except Exception as error:
            if type(error) is GenerationError and (job.started or 0) > self._failed_at:  # one step can fail many requests
                self._failures += 1
                self._failed_at = time.perf_counter()
            yield encode_frame(*encode_error(_as_member_error(error)))
        finally:
            job.cancel()

    async def _screen(self, frame: Frame) -> Frame:
        try:
            async with self._ingress.slots:
                images = await asyncio.to_thread(_decode_images, frame[1])
            return {"flags": await self.engine.screen_images(images)}, []
        except Exception as error:
            return encode_error(_as_member_error(error))

    def _seconds_left(self, job: Job) -> float | None:
        now = time.perf_counter()
        if job not in self._estimate or now - self._estimated_at > ESTIMATE_SECONDS:
            self._estimate = self.engine.estimate_completion()
            self._estimated_at = now
        return self._estimate.get(job)


def _answer(frame: Frame) -> Response:
    return Response(encode_frame(*frame), media_type=MEDIA_TYPE)


def _decode_images(files: list[bytes]) -> list[Image.Image]:
    if len(files) > SCREENED_AT_ONCE:
        raise BrokenFrameError("The request has more images than one screening takes.")
    return [decode_image(file, max_pixels=SCREENED_SIDE * SCREENED_SIDE) for file in files]


def _as_member_error(error: Exception) -> DarkroomError:
    """Return ``error`` as its member reads it; logs what no member caused."""
    if not isinstance(error, DarkroomError):
        log.error("a request failed", exc_info=error)
    return as_darkroom_error(error)
