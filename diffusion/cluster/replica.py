"""One engine among several, asked over HTTP: pictures with their progress, checks of pictures, and what its model takes."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from PIL import Image
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from diffusion.cluster.schema import done, read_question, refused, spec, told
from diffusion.cluster.wire import MAX_HEAD, MAX_QUESTION, MEDIA_TYPE, BrokenFrame, Frame, pack, to_image, unpack
from diffusion.engine import Engine
from diffusion.errors import DarkroomError, QueueFull
from diffusion.job import Job

REPORT_SECONDS: Final = 0.2  # between two frames of a request that has news
HEARTBEAT_SECONDS: Final = 5.0  # and of one that has none: who hears nothing for longer takes this replica for lost
FORECAST_SECONDS: Final = 0.5  # a forecast is as good for so long
FULL_SECONDS: Final = 60.0  # until there is room again, where that cannot be foreseen
STEPS_KEPT: Final = 1000  # for whoever is told next


class Replica:
    """Answers for ``engine``, which is running. Whoever closes the connection takes their request back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._steps: deque[tuple[int, float]] = deque(maxlen=STEPS_KEPT)
        self._forecast: dict[Job, float | None] = {}
        self._foreseen = 0.0
        self._looks = 0
        engine.watchers.append(lambda rows, seconds: self._steps.append((rows, seconds)))

    async def __call__(self, http: Request) -> Response:
        """Answer one HTTP request: GET what the model takes, POST ``…/pictures`` or ``…/checks``."""
        asked = http.method, http.url.path.rstrip("/").rpartition("/")[2]
        if http.method == "GET":
            return _answer(spec(self.engine.model, self.engine.checks))
        if asked not in (("POST", "pictures"), ("POST", "checks")):
            return PlainTextResponse("There is nothing here.", 404)
        try:
            frame = unpack(await _body(http), MAX_QUESTION)
        except BrokenFrame as error:
            return PlainTextResponse(str(error), 400)
        if asked[1] == "checks":
            return _answer(await self._check(frame))
        return StreamingResponse(self._develop(frame), media_type=MEDIA_TYPE)

    def record_routing_stats(self) -> dict[str, Any]:
        """Tell the routers how long the queue is, and what steps here; ``look`` numbers the figures."""
        self._looks += 1
        return {"queued": self.engine.queued, "shapes": [list(shape) for shape in self.engine.shapes], "look": self._looks}

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell the autoscaler how long the queue is, in rows of network calls."""
        return {"queued": float(self.engine.queued)}

    async def check_health(self) -> None:
        """Raise `RuntimeError` where the engine has ended; Serve then starts this replica anew."""
        if not self.engine.alive:
            raise RuntimeError("the engine has ended")

    async def _develop(self, frame: Frame) -> AsyncIterator[bytes]:
        """Give one frame after another about a request, in the end its pictures or why there are none."""
        try:
            request, owner = await asyncio.to_thread(read_question, frame)
            job = self.engine.submit(request, owner)
        except DarkroomError as error:
            yield pack(*refused(error, self._room() if isinstance(error, QueueFull) else None))
            return
        try:
            heard, at = None, 0.0
            previews: tuple[Image.Image, ...] = ()
            while not job.done:
                progress, now = job.progress, time.perf_counter()
                if progress is not heard or now - at > HEARTBEAT_SECONDS:
                    steps = [self._steps.popleft() for _ in range(len(self._steps))]
                    yield pack(*await asyncio.to_thread(told, progress, previews, self._left(job), steps))
                    heard, previews, at = progress, progress.previews, now
                await job.wait(REPORT_SECONDS)
            try:
                yield pack(*await asyncio.to_thread(done, await job))
            except DarkroomError as error:
                yield pack(*refused(error))
        finally:
            job.cancel()

    async def _check(self, frame: Frame) -> Frame:
        try:
            images: list[Image.Image] = await asyncio.to_thread(lambda: [to_image(file) for file in frame[1]])
            return {"flags": await self.engine.check(images)}, []
        except DarkroomError as error:
            return refused(error)

    def _left(self, job: Job) -> float | None:
        now = time.perf_counter()
        if job not in self._forecast or now - self._foreseen > FORECAST_SECONDS:
            self._forecast, self._foreseen = self.engine.forecast(), now
        return self._forecast.get(job)

    def _room(self) -> float:
        """Foresee when half of the queue is done."""
        return max((left or 0 for left in self.engine.forecast().values()), default=0) / 2 or FULL_SECONDS


def _answer(frame: Frame) -> Response:
    return Response(pack(*frame), media_type=MEDIA_TYPE)


async def _body(http: Request) -> bytes:
    """Read what was posted, but not endlessly; raises `BrokenFrame`."""
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > MAX_QUESTION + MAX_HEAD:
            raise BrokenFrame("This is too large.")
    return bytes(body)
