"""One engine behind HTTP: images with progress, screening, the model's spec."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from PIL import Image
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from diffusion.cluster.framing import (
    MAX_HEADER_BYTES,
    MAX_REQUEST_BYTES,
    MEDIA_TYPE,
    BrokenFrameError,
    Frame,
    decode_frame,
    decode_image,
    encode_frame,
)
from diffusion.cluster.schema import decode_request, encode_error, encode_progress, encode_result, encode_spec
from diffusion.errors import DarkroomError, GenerationError
from diffusion.images.screening import SCREENED_AT_ONCE, SCREENED_SIDE
from diffusion.serving.engine import Engine
from diffusion.serving.job import Job
from diffusion.serving.latency import Step

REPORT_SECONDS: Final = 0.2  # between two progress reports of a request
HEARTBEAT_SECONDS: Final = 5.0  # between reports without news; clients take a silent replica for lost
ESTIMATE_SECONDS: Final = 0.5  # how long an estimate of completion is reused
STEPS_KEPT: Final = 1000  # for the next progress report
MAX_FAILURES: Final = 3  # in a row that no request caused: the device may be broken


class Replica:
    """Serves the running ``engine`` over HTTP.

    A client cancels its request when it closes the connection.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
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
        if http.method == "GET":
            return _answer(encode_spec(self.engine.model, self.engine.can_screen))
        if http.method != "POST" or endpoint not in ("pictures", "screenings"):
            return PlainTextResponse("Not found.", 404)
        await self.check_health()  # an error here makes the client ask another replica
        try:
            frame = decode_frame(await _read_body(http), MAX_REQUEST_BYTES)
        except BrokenFrameError as error:
            return PlainTextResponse(str(error), 400)
        if endpoint == "screenings":
            return _answer(await self._screen(frame))
        return StreamingResponse(self._draw(frame), media_type=MEDIA_TYPE)

    async def record_routing_stats(self) -> dict[str, Any]:
        """Report queued rows and latent shapes to the routers.

        A broken engine reports an infinite queue. ``stats_version`` numbers the reports.
        """
        self._stats_version += 1
        queued = math.inf if self._problem else self.engine.queued
        return {"queued": queued, "shapes": [list(shape) for shape in self.engine.shapes], "stats_version": self._stats_version}

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Report to the autoscaler the queue in rows of network calls."""
        return {"queued": float(self.engine.queued)}

    async def check_health(self) -> None:
        """Raise `RuntimeError` if the engine is broken; Serve then restarts this replica."""
        if self._problem:
            raise RuntimeError(self._problem)

    @property
    def _problem(self) -> str:
        if not self.engine.alive:
            return "the engine has ended"
        return f"{self._failures} requests failed one after another" if self._failures >= MAX_FAILURES else ""

    async def _draw(self, frame: Frame) -> AsyncIterator[bytes]:
        """Yield progress frames of a request, then its result or its error."""
        try:
            request, owner = await asyncio.to_thread(decode_request, frame)
            job = self.engine.submit(request, owner)
        except DarkroomError as error:
            yield encode_frame(*encode_error(error))
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
                    frame = await asyncio.to_thread(encode_progress, progress, previews, self._seconds_left(job), steps)
                    yield encode_frame(*frame)
                    reported = progress
                    reported_at = now
                    previews = progress.previews
                await job.wait(REPORT_SECONDS)
            try:
                result = await job
                self._failures = 0
                yield encode_frame(*await asyncio.to_thread(encode_result, result))
            except DarkroomError as error:
                if type(error) is GenerationError and (job.started or 0) > self._failed_at:  # one step can fail many requests
                    self._failures += 1
                    self._failed_at = time.perf_counter()
                yield encode_frame(*encode_error(error))
        finally:
            job.cancel()

    async def _screen(self, frame: Frame) -> Frame:
        try:
            images = await asyncio.to_thread(_decode_images, frame[1])
            return {"flags": await self.engine.screen_images(images)}, []
        except DarkroomError as error:
            return encode_error(error)

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


async def _read_body(http: Request) -> bytes:
    """Read the body of a request; raises `BrokenFrameError` over the size limit."""
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES + MAX_HEADER_BYTES:
            raise BrokenFrameError("The request is too large.")
    return bytes(body)
