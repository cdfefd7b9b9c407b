"""What only a process itself knows: its queue, its speed, its models and its memory."""

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from cogs.core.generation.service import GenerationService
from cogs.core.storage.creations import Creation
from diffusion.errors import DarkroomError
from diffusion.serving.job import Job
from diffusion.serving.latency import Step

SLICE_SECONDS: Final = 10  # in which steps are counted
SLICES_PER_MINUTE: Final = 60 // SLICE_SECONDS
HISTORY_MINUTES: Final = 30
MAX_QUEUED: Final = 25  # requests of a process that are listed
MAX_NAMES: Final = 100  # servers whose names a process reports: those with the latest requests


class Speed(BaseModel):
    """Steps of some time, with the rows of the network and the seconds that they took."""

    model_config = ConfigDict(frozen=True)
    steps: int = 0
    rows: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Speed") -> "Speed":
        return Speed(steps=self.steps + other.steps, rows=self.rows + other.rows, seconds=self.seconds + other.seconds)

    @property
    def rows_per_call(self) -> float | None:
        """The rows of a step on average, None without steps."""
        return self.rows / self.steps if self.steps else None

    @property
    def seconds_per_step(self) -> float | None:
        """The seconds of a step on average, None without steps."""
        return self.seconds / self.steps if self.steps else None


class QueuedRequest(BaseModel):
    """A request that waits or runs; ``price`` and ``seconds_left`` are None while nobody can tell."""

    model_config = ConfigDict(frozen=True)
    short_id: str
    member: int
    server: int | None
    pictures: int
    size: str
    steps: int
    model: str
    is_running: bool
    share_done: float
    waited: float
    price: float | None
    seconds_left: float | None


class ProcessStatus(BaseModel):
    """What a process says about itself.

    Fields have defaults, so that a process can read the reports of another version while an update goes on.
    """

    model_config = ConfigDict(frozen=True)
    name: str = ""
    began: float = 0.0
    is_ready: bool = False  # whether Discord sends events
    servers: int = 0
    latency: float | None = None
    device: str = ""
    model: str = ""
    is_paused: bool = False
    is_closed: bool = False  # to new requests
    unfinished: int = 0  # pictures
    waiting_members: int = 0
    queued_requests: int = 0
    queued_seconds: float | None = None
    queue: tuple[QueuedRequest, ...] = ()  # the first `MAX_QUEUED`
    recent: Speed = Speed()  # of the last minute
    minutes: dict[int, Speed] = {}  # by the minute since 1970
    models: dict[str, int | None] = {}  # bytes in memory, None if unloaded
    resident_bytes: int | None = None
    loop_lag: float | None = None
    hung_threads: int = 0
    pictures: int = 0
    server_names: dict[int, str] = {}


class StepHistory:
    """Counts the steps of an engine in slices of time; ``clock`` tells seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._slices: dict[int, Speed] = {}

    def add(self, step: Step) -> None:
        """Count a step that has just ended."""
        now = int(self._clock() // SLICE_SECONDS)
        if now not in self._slices:
            oldest = now - HISTORY_MINUTES * SLICES_PER_MINUTE
            self._slices = {number: speed for number, speed in self._slices.items() if number > oldest}
        self._slices[now] = self._slices.get(now, Speed()) + Speed(steps=1, rows=step.rows, seconds=step.seconds)

    def recent(self) -> Speed:
        """Return the steps of the last whole minute of slices."""
        now = int(self._clock() // SLICE_SECONDS)
        return sum((self._slices.get(now - back, Speed()) for back in range(1, SLICES_PER_MINUTE + 1)), Speed())

    def minutes(self) -> dict[int, Speed]:
        """Return the steps of the last `HISTORY_MINUTES` by the minute since 1970, without idle minutes."""
        newest = int(self._clock() // 60)
        found: dict[int, Speed] = {}
        for number, speed in self._slices.items():
            minute = number // SLICES_PER_MINUTE
            if newest - HISTORY_MINUTES < minute <= newest:
                found[minute] = found.get(minute, Speed()) + speed
        return found


class StatusReporter:
    """Describes the process of ``service``. It remembers which servers had the latest requests, to report their names."""

    def __init__(self, service: GenerationService) -> None:
        self._service = service
        self._steps = StepHistory()
        self._latest_servers: OrderedDict[int, None] = OrderedDict()
        service.engine.watchers.append(self._steps.add)
        service.creation_store.watchers.append(self._note_server)

    def status(self) -> ProcessStatus:
        """Describe the process as it is now. Call it on the event loop."""
        service, engine = self._service, self._service.engine
        client = service.client
        is_ready = client is not None and client.is_ready()
        queue = service.runner.queue_snapshot() if client else []
        described = [self._describe(*entry) for entry in queue[:MAX_QUEUED]]
        in_memory = engine.resident_bytes
        return ProcessStatus(
            name=service.lease.name,
            began=service.metrics.began,
            is_ready=is_ready,
            servers=len(client.guilds) if client else 0,
            latency=client.latency if client and is_ready and client.latency < float("inf") else None,
            device=f"{engine.model.device} {engine.model.dtype}".replace("torch.", ""),
            model=engine.model.name,
            is_paused=engine.paused,
            is_closed=service.closed_reason is not None,
            unfinished=engine.unfinished,
            waiting_members=len({creation.owner for creation, job, _ in queue if job.started is None}),
            queued_requests=len(queue),
            queued_seconds=engine.load().seconds,
            queue=tuple(described),
            recent=self._steps.recent(),
            minutes=self._steps.minutes(),
            models=dict.fromkeys(engine.models) | dict(in_memory),
            resident_bytes=service.metrics.resident_bytes,
            loop_lag=service.metrics.loop_lag,
            hung_threads=engine.hung_threads,
            pictures=service.metrics.pictures,
            server_names=self._names({entry.server for entry in described if entry.server}),
        )

    def name_of(self, server: int) -> str | None:
        """Return the name of a server that this process serves."""
        guild = self._service.client.get_guild(server) if self._service.client else None
        return guild.name if guild else None

    def _describe(self, creation: Creation, job: Job, seconds_left: float | None) -> QueuedRequest:
        request = job.request
        price = None
        with contextlib.suppress(DarkroomError):  # its model is offered no more
            price = self._service.engine.price(request) * job.share_left
        return QueuedRequest(
            short_id=creation.short_id,
            member=creation.owner,
            server=creation.guild_id,
            pictures=request.count,
            size=f"{request.width}×{request.height}",
            steps=request.steps,
            model=request.serving_model or self._service.engine.model.name,
            is_running=job.started is not None,
            share_done=min(1.0, job.progress.completed / (job.progress.total or 1)),
            waited=max(0.0, (datetime.now(UTC) - creation.created).total_seconds()),
            price=price,
            seconds_left=seconds_left,
        )

    def _note_server(self, creation: Creation) -> None:
        if creation.guild_id:
            self._latest_servers[creation.guild_id] = None
            self._latest_servers.move_to_end(creation.guild_id)
            if len(self._latest_servers) > MAX_NAMES:
                self._latest_servers.popitem(last=False)

    def _names(self, servers: set[int]) -> dict[int, str]:
        named = {server: self.name_of(server) for server in servers | self._latest_servers.keys()}
        return {server: name for server, name in named.items() if name}
