"""GPUs that serve a trace in simulated time, with the bot's own scheduling."""

import math
import random
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from typing import Any, Final, Literal, Protocol

import simpy

from benchmarks.capacity.trace import Arrival
from diffusion.serving.batcher import Batcher
from diffusion.serving.latency import LatencyModel, Shape
from diffusion.serving.price import Prices
from diffusion.serving.routing import Key, choose

MODEL_NAME: Final = "the model"

Events = Generator[simpy.Event, Any, None]
Seconds = Callable[[Shape, int], float]  # of a network call, by the shape of its latents and its rows


@dataclass(eq=False)
class SimulatedImage:
    """One image of a request as a `Batcher` item; times are simulated seconds."""

    owner: Hashable
    shape: Shape
    rows: int
    left: int
    started: float = math.inf
    ended: float = math.inf
    lane: None = None  # each GPU has one model
    network: None = None  # all use one
    decoding: None = None  # its time is spread over the calls

    @property
    def group(self) -> Shape:
        """The shape: all images of one shape share calls."""
        return self.shape


class ServedRequest:
    """A request whose latents have ``shape``, with its pictures."""

    def __init__(self, arrival: Arrival, shape: Shape) -> None:
        request = arrival.request
        rows = 2 if request.guidance_scale > 1 else 1
        self.arrival = arrival
        self.key = (MODEL_NAME, shape)
        self.pictures = [SimulatedImage(arrival.owner, shape, rows, request.evaluations) for _ in range(request.count)]

    @property
    def start_delay(self) -> float:
        """The seconds from the request to the first step of its first picture."""
        return min(picture.started for picture in self.pictures) - self.arrival.at

    @property
    def total_wait(self) -> float:
        """The seconds from the request to the end of its last picture."""
        return max(picture.ended for picture in self.pictures) - self.arrival.at


class Gpu(Protocol):
    """A GPU, as the router sees a replica."""

    @property
    def queued(self) -> float: ...  # noqa: D102
    @property
    def keys(self) -> Collection[Key]: ...  # noqa: D102
    def take(self, pictures: Sequence[SimulatedImage]) -> None: ...  # noqa: D102


class BatchingGpu:
    """A GPU that batches pictures in network calls, as an engine does."""

    def __init__(self, env: simpy.Environment, prices: Prices, max_rows: int | None) -> None:
        self.queued = 0.0
        self._env = env
        self._prices = prices
        self._batcher = Batcher[SimulatedImage](max_rows, prices)
        self._work = env.event()
        env.process(self._run())

    @property
    def keys(self) -> Collection[Key]:
        """The models and shapes of the running pictures."""
        return {(MODEL_NAME, picture.shape) for picture in self._batcher.running()}

    def take(self, pictures: Sequence[SimulatedImage]) -> None:
        """Queue ``pictures``."""
        for picture in pictures:
            self._batcher.add(picture)
            self.queued += picture.rows * picture.left * self._prices.row(picture.shape)
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
                picture.started = min(picture.started, self._env.now)
            rows = sum(picture.rows for picture in batch)
            yield self._env.timeout(self._prices.call(batch[0].shape, rows))
            self.queued -= rows * self._prices.row(batch[0].shape)
            for picture in batch:
                picture.left -= 1
                if not picture.left:
                    picture.ended = self._env.now
                    self._batcher.discard(picture)


class SingleGpu:
    """A GPU that draws one picture at a time from ``queue``, first in, first out.

    GPUs may share a queue.
    """

    def __init__(self, env: simpy.Environment, seconds: Seconds, queue: simpy.Store) -> None:
        self.queued = 0.0
        self.keys = frozenset[Key]()
        self._env = env
        self._seconds = seconds
        self._queue = queue
        env.process(self._run())

    def take(self, pictures: Sequence[SimulatedImage]) -> None:
        """Queue ``pictures``."""
        for picture in pictures:
            self._queue.put(picture)
            self.queued += picture.left * self._seconds(picture.shape, picture.rows)

    def _run(self) -> Events:
        while True:
            picture: SimulatedImage = yield self._queue.get()
            picture.started = self._env.now
            seconds = picture.left * self._seconds(picture.shape, picture.rows)
            yield self._env.timeout(seconds)
            self.queued -= seconds
            picture.left = 0
            picture.ended = self._env.now


@dataclass(frozen=True)
class Way:
    """A way to share work: how requests are assigned to GPUs, and if GPUs batch."""

    name: str
    assignment: Literal["shared queue", "round-robin", "routing"]
    batching: bool


FIFO: Final = Way("FIFO, one at a time", "shared queue", False)
ROUND_ROBIN: Final = Way("round-robin, one at a time", "round-robin", False)
ROUTING: Final = Way("routing, one at a time", "routing", False)
ROUND_ROBIN_BATCHING: Final = Way("round-robin, batching", "round-robin", True)
ROUTING_BATCHING: Final = Way("routing, batching", "routing", True)
WAYS: Final = (FIFO, ROUND_ROBIN, ROUTING, ROUND_ROBIN_BATCHING, ROUTING_BATCHING)


def simulate(
    trace: Iterable[Arrival],
    way: Way,
    gpus: int,
    latency: LatencyModel,
    latent_shape: Callable[[int, int], Shape],
    max_rows: int | None = 16,
    seed: int = 0,
) -> list[ServedRequest]:
    """Serve all of ``trace`` with ``gpus`` equal GPUs and return its requests.

    ``latency`` predicts the seconds of network calls. ``latent_shape`` takes a width and a height in pixels. ``max_rows`` is
    that of a call; None: what is useful for its shape.
    """
    served = [ServedRequest(arrival, latent_shape(arrival.request.width, arrival.request.height)) for arrival in trace]
    env = simpy.Environment(served[0].arrival.at if served else 0)
    fleet = _fleet(env, way, gpus, CachedPrices(latency), max_rows)
    next_gpu = cycle(range(gpus))
    rng = random.Random(seed)

    def arrive() -> Events:
        for each in served:
            if each.arrival.at > env.now:  # requests of the same moment all arrive before a GPU starts
                yield env.timeout(each.arrival.at - env.now)
            gpu = choose(fleet, each.key, rng) if way.assignment == "routing" else fleet[next(next_gpu)]
            gpu.take(each.pictures)

    env.process(arrive())
    env.run()
    return served


def _fleet(env: simpy.Environment, way: Way, gpus: int, prices: Prices, max_rows: int | None) -> Sequence[Gpu]:
    if way.batching:
        return [BatchingGpu(env, prices, max_rows) for _ in range(gpus)]
    queue = simpy.Store(env)
    return [SingleGpu(env, prices.call, queue if way.assignment == "shared queue" else simpy.Store(env)) for _ in range(gpus)]


class CachedPrices(Prices):
    """Prices by a latency model that learns nothing more."""

    def __init__(self, latency: LatencyModel) -> None:
        super().__init__(latency)
        if latency.seconds((1, 1, 1, 1), 1) is None:
            raise ValueError("the latency model has seen no network call")
        self.call = cache(super().call)  # type: ignore[method-assign]
