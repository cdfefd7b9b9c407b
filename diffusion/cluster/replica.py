"""One engine among several, asked over HTTP: pictures with their progress, checks of pictures, and what its model takes."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from PIL import Image
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from diffusion.cluster.framing import MAX_HEAD, MAX_QUESTION, MEDIA_TYPE, BrokenFrameError, Frame, pack, to_image, unpack
from diffusion.cluster.schema import done, read_question, refused, spec, told
from diffusion.errors import DarkroomError, GenerationError
from diffusion.images.screening import SCREENED_AT_ONCE, SCREENED_SIDE
from diffusion.serving.engine import Engine
from diffusion.serving.job import Job

REPORT_SECONDS: Final = 0.2  # between two frames of a request that has news
HEARTBEAT_SECONDS: Final = 5.0  # and of one that has none: who hears nothing for longer takes this replica for lost
FORECAST_SECONDS: Final = 0.5  # a forecast is as good for so long
STEPS_KEPT: Final = 1000  # for whoever is told next
MAX_FAILURES: Final = 3  # one after another, for no reason that the request gave: the device may be broken


class Replica:
    """Answers for ``engine``, which is running. Whoever closes the connection takes their request back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._steps: deque[tuple[int, float]] = deque(maxlen=STEPS_KEPT)
        self._forecast: dict[Job, float | None] = {}
        self._foreseen = 0.0
        self._stats_version = 0
        self._failures, self._failed_at = 0, 0.0
        engine.watchers.append(lambda rows, seconds: self._steps.append((rows, seconds)))

    async def __call__(self, http: Request) -> Response:
        """Answer one HTTP request: GET what the model takes, POST ``…/pictures`` or ``…/checks``."""
        asked = http.method, http.url.path.rstrip("/").rpartition("/")[2]
        if http.method == "GET":
            return _answer(spec(self.engine.model, self.engine.can_screen))
        if asked not in (("POST", "pictures"), ("POST", "checks")):
            return PlainTextResponse("There is nothing here.", 404)
        await self.check_health()  # who then hears nothing asks another replica
        try:
            frame = unpack(await _body(http), MAX_QUESTION)
        except BrokenFrameError as error:
            return PlainTextResponse(str(error), 400)
        if asked[1] == "checks":
            return _answer(await self._check(frame))
        return StreamingResponse(self._develop(frame), media_type=MEDIA_TYPE)

    async def record_routing_stats(self) -> dict[str, Any]:
        """Tell the routers how long the queue is, endless where nothing is made, and what steps here; ``stats_version`` numbers that."""
        self._stats_version += 1
        queued = math.inf if self._trouble else self.engine.queued
        return {"queued": queued, "shapes": [list(shape) for shape in self.engine.shapes], "stats_version": self._stats_version}

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell the autoscaler how long the queue is, in rows of network calls."""
        return {"queued": float(self.engine.queued)}

    async def check_health(self) -> None:
        """Raise `RuntimeError` where nothing is made any more; Serve then starts this replica anew."""
        if self._trouble:
            raise RuntimeError(self._trouble)

    @property
    def _trouble(self) -> str:
        if not self.engine.alive:
            return "the engine has ended"
        return f"{self._failures} requests failed one after another" if self._failures >= MAX_FAILURES else ""

    async def _develop(self, frame: Frame) -> AsyncIterator[bytes]:
        """Give one frame after another about a request, in the end its pictures or why there are none."""
        try:
            request, owner = await asyncio.to_thread(read_question, frame)
            job = self.engine.submit(request, owner)
        except DarkroomError as error:
            yield pack(*refused(error))
            return
        try:
            heard, at = None, 0.0
            previews: tuple[Image.Image, ...] = ()
            while not job.done:
                await self.check_health()  # or Serve would leave what never ends here for all of its grace
                progress, now = job.progress, time.perf_counter()
                if progress is not heard or now - at > HEARTBEAT_SECONDS:
                    steps = [self._steps.popleft() for _ in range(len(self._steps))]
                    yield pack(*await asyncio.to_thread(told, progress, previews, self._left(job), steps))
                    heard, previews, at = progress, progress.previews, now
                await job.wait(REPORT_SECONDS)
            try:
                result = await job
                self._failures = 0
                yield pack(*await asyncio.to_thread(done, result))
            except DarkroomError as error:
                if type(error) is GenerationError and (job.started or 0) > self._failed_at:  # once for all of a step
                    self._failures, self._failed_at = self._failures + 1, time.perf_counter()
                yield pack(*refused(error))
        finally:
            job.cancel()

    async def _check(self, frame: Frame) -> Frame:
        try:
            images = await asyncio.to_thread(_pictures, frame[1])
            return {"flags": await self.engine.screen_images(images)}, []
        except DarkroomError as error:
            return refused(error)

    def _left(self, job: Job) -> float | None:
        now = time.perf_counter()
        if job not in self._forecast or now - self._foreseen > FORECAST_SECONDS:
            self._forecast, self._foreseen = self.engine.estimate_completion(), now
        return self._forecast.get(job)


def _answer(frame: Frame) -> Response:
    return Response(pack(*frame), media_type=MEDIA_TYPE)


def _pictures(files: list[bytes]) -> list[Image.Image]:
    if len(files) > SCREENED_AT_ONCE:
        raise BrokenFrameError("These are more pictures than are checked at once.")
    return [to_image(file, max_pixels=SCREENED_SIDE * SCREENED_SIDE) for file in files]


async def _body(http: Request) -> bytes:
    """Read what was posted, but not endlessly; raises `BrokenFrameError`."""
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > MAX_QUESTION + MAX_HEAD:
            raise BrokenFrameError("This is too large.")
    return bytes(body)
