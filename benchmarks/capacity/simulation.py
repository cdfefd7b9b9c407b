"""GPUs that serve a trace in simulated time, with the bot's own `Batcher` and `choose` and measured latencies."""

import math
import random
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from typing import Any, Final, Literal, Protocol

import simpy

from benchmarks.capacity.trace import Asked
from diffusion.serving.batcher import Batcher
from diffusion.serving.latency import LatencyModel, Shape
from diffusion.serving.routing import Key, choose

MODEL: Final = "the model"

Events = Generator[simpy.Event, Any, None]
Seconds = Callable[[Shape, int], float]  # of a call of the network, by the shape of its latents and its rows


@dataclass(eq=False)
class Picture:
    """One image of a request, as the batcher sees it; its times are those of the simulation, in seconds."""

    owner: Hashable
    shape: Shape
    rows: int
    left: int
    began: float = math.inf
    ended: float = math.inf


class Served:
    """A request whose latents have ``shape``, and what becomes of its pictures."""

    def __init__(self, asked: Asked, shape: Shape) -> None:
        request = asked.request
        rows = 2 if request.guidance_scale > 1 else 1
        self.asked, self.key = asked, (MODEL, shape)
        self.pictures = [Picture(asked.owner, shape, rows, request.evaluations) for _ in range(request.count)]

    @property
    def begun(self) -> float:
        """Seconds from asking until the first step of the first picture."""
        return min(picture.began for picture in self.pictures) - self.asked.at

    @property
    def wait(self) -> float:
        """Seconds from asking until all pictures are there."""
        return max(picture.ended for picture in self.pictures) - self.asked.at


class Gpu(Protocol):
    """What serves requests; to the router, a replica."""

    @property
    def queued(self) -> float: ...  # noqa: D102
    @property
    def keys(self) -> Collection[Key]: ...  # noqa: D102
    def take(self, pictures: Sequence[Picture]) -> None: ...  # noqa: D102


class Batching:
    """A GPU whose pictures share their calls of the network, as an engine has it."""

    def __init__(self, env: simpy.Environment, seconds: Seconds, max_rows: int) -> None:
        self.queued = 0.0
        self._env, self._seconds, self._batcher = env, seconds, Batcher[Picture](max_rows)
        self._work = env.event()
        env.process(self._run())

    @property
    def keys(self) -> Collection[Key]:
        """What it steps at present."""
        return {(MODEL, picture.shape) for picture in self._batcher.running()}

    def take(self, pictures: Sequence[Picture]) -> None:
        """Queue ``pictures``."""
        for picture in pictures:
            self._batcher.add(picture)
            self.queued += picture.rows * picture.left
        if not self._work.triggered:
            self._work.succeed()

    def _run(self) -> Events:
        while True:
            batch = self._batcher.next_batch()
            if not batch:
                self._work = self._env.event()
                yield self._work
                continue
            for picture in batch:
                picture.began = min(picture.began, self._env.now)
            rows = sum(picture.rows for picture in batch)
            yield self._env.timeout(self._seconds(batch[0].shape, rows))
            self.queued -= rows
            for picture in batch:
                picture.left -= 1
                if not picture.left:
                    picture.ended = self._env.now
                    self._batcher.discard(picture)


class Single:
    """A GPU that draws one picture at a time, in the order in which they come to ``queue``, which others may share."""

    def __init__(self, env: simpy.Environment, seconds: Seconds, queue: simpy.Store) -> None:
        self.queued, self.keys = 0.0, frozenset[Key]()
        self._env, self._seconds, self._queue = env, seconds, queue
        env.process(self._run())

    def take(self, pictures: Sequence[Picture]) -> None:
        """Queue ``pictures``."""
        for picture in pictures:
            self._queue.put(picture)
            self.queued += picture.rows * picture.left

    def _run(self) -> Events:
        while True:
            picture: Picture = yield self._queue.get()
            picture.began = self._env.now
            yield self._env.timeout(picture.left * self._seconds(picture.shape, picture.rows))
            self.queued -= picture.rows * picture.left
            picture.left, picture.ended = 0, self._env.now


@dataclass(frozen=True)
class Way:
    """How GPUs share the work: which of them a request goes to, and whether its pictures share calls of the network there."""

    name: str
    to: Literal["whichever is free", "each in turn", "the chosen one"]
    batching: bool


FIFO: Final = Way("FIFO, one at a time", "whichever is free", False)
ROUND_ROBIN: Final = Way("round-robin, one at a time", "each in turn", False)
ROUTING: Final = Way("routing, one at a time", "the chosen one", False)
ROUND_ROBIN_BATCHING: Final = Way("round-robin, batching", "each in turn", True)
ROUTING_BATCHING: Final = Way("routing, batching", "the chosen one", True)
WAYS: Final = (FIFO, ROUND_ROBIN, ROUTING, ROUND_ROBIN_BATCHING, ROUTING_BATCHING)


def simulate(
    trace: Iterable[Asked],
    way: Way,
    gpus: int,
    pace: LatencyModel,
    latent_shape: Callable[[int, int], Shape],
    max_rows: int = 16,
    seed: int = 0,
) -> list[Served]:
    """Serve all of ``trace`` with ``gpus`` equal GPUs, until the last picture is there.

    ``pace`` knows what a call of the network takes, ``latent_shape`` the shape of latents by width and height in pixels.
    """
    served = [Served(asked, latent_shape(asked.request.width, asked.request.height)) for asked in trace]
    env = simpy.Environment(served[0].asked.at if served else 0)
    fleet, turns, chance = _fleet(env, way, gpus, _seconds(pace), max_rows), cycle(range(gpus)), random.Random(seed)

    def arrive() -> Events:
        for each in served:
            if each.asked.at > env.now:  # what comes at the same time is there before a GPU begins
                yield env.timeout(each.asked.at - env.now)
            gpu = choose(fleet, each.key, chance) if way.to == "the chosen one" else fleet[next(turns)]
            gpu.take(each.pictures)

    env.process(arrive())
    env.run()
    return served


def _fleet(env: simpy.Environment, way: Way, gpus: int, seconds: Seconds, max_rows: int) -> Sequence[Gpu]:
    if way.batching:
        return [Batching(env, seconds, max_rows) for _ in range(gpus)]
    queue = simpy.Store(env)
    return [Single(env, seconds, queue if way.to == "whichever is free" else simpy.Store(env)) for _ in range(gpus)]


def _seconds(pace: LatencyModel) -> Seconds:
    @cache
    def seconds(shape: Shape, rows: int) -> float:
        taken = pace.seconds(shape, rows)
        if taken is None:
            raise ValueError("the pace knows no call of the network yet")
        return taken

    return seconds
