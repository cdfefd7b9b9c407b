"""The forecast: simulate the batcher to estimate when each image will be done.

It uses neither tensors nor a clock.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from diffusion.serving.batcher import Batcher, Item
from diffusion.serving.job import ImageTask, Job
from diffusion.serving.lanes import Lane, Move, next_move, turn_end
from diffusion.serving.latency import LatencyModel, Shape, is_decoding
from diffusion.serving.price import Prices

T = TypeVar("T", bound=Item)
SMALLEST_PART: Final = 1e-6  # of a step: what is left over by rounding


@dataclass(eq=False)
class _SimulatedItem(Generic[T]):
    """Stands for an image in the simulation."""

    item: T
    owner: Hashable
    group: Hashable
    network: Hashable
    shape: Shape
    rows: int
    left: float
    decoding: Shape | None
    lane: Lane | None = None

    def decode_next(self, shape: Shape) -> None:
        """Turn to the last call, which decodes the image."""
        self.group = (self.group, shape)
        self.shape = shape
        self.decoding = None
        self.rows = 1
        self.left = 1.0


class SimulatedLanes:
    """Copies of ``lanes`` that open and close in the simulation as those of an engine, from ``now`` on."""

    def __init__(self, lanes: Sequence[Lane], room: float, now: float) -> None:
        self.room = room
        self.now = now
        self.copies = {lane: lane.copy() for lane in lanes}
        self._loaded_at = {copy: now + copy.load_seconds for copy in self.copies.values() if copy.is_loading}

    def advance(self, seconds: float, batcher: Batcher[_SimulatedItem[T]]) -> None:
        """Let ``seconds`` pass, and do what is due then."""
        self.now += seconds
        running = {item.lane for item in batcher.running() if item.lane}
        waiting = {item.lane for item in batcher.waiting() if item.lane}
        for lane in running:
            lane.used = self.now
        for lane, at in list(self._loaded_at.items()):
            if at <= self.now:
                del self._loaded_at[lane]
                lane.open(self.now)
        for lane in waiting:
            if not lane.is_loaded and lane.wanted is None:
                lane.wanted = self.now
        lanes = self.copies.values()
        while move := next_move(lanes, running, waiting, room=self.room, now=self.now):
            kind, lane = move
            if kind is Move.LOAD:
                lane.is_loading = True
                self._loaded_at[lane] = self.now + lane.load_seconds
            elif kind is Move.CLOSE:
                lane.close()
            elif kind is Move.EVICT:
                lane.evict()
                lane.wanted = self.now if lane in waiting else None
            else:
                lane.open(self.now)

    def seconds_to_next(self) -> float:
        """Return when a lane opens or closes next, if nothing else happens."""
        wanted = [lane for lane in self.copies.values() if lane.wanted is not None and not lane.is_loaded]
        times = list(self._loaded_at.values())
        times += [turn_end(lane, first) for lane in self.copies.values() if lane.is_open for first in wanted]
        return min((time - self.now for time in times if time > self.now), default=math.inf)


def estimate_completion(
    batcher: Batcher[T], latency: LatencyModel, lanes: SimulatedLanes | None = None
) -> dict[T, float | None]:
    """Simulate ``batcher`` and return the seconds until each image is done.

    The seconds are None while the speed is unknown. Running images come first, then the others in the order of their
    admission. ``lanes`` are those of the images, if they have any; else the speed is that of ``latency``.
    """
    copies = lanes.copies if lanes else {}
    simulated: Batcher[_SimulatedItem[T]] = batcher.copy(
        lambda item: _SimulatedItem(
            item=item,
            owner=item.owner,
            group=item.group,
            network=item.network,
            shape=item.shape,
            rows=item.rows,
            left=item.left,
            decoding=item.decoding,
            lane=copies[item.lane] if item.lane else None,
        )
    )
    done: dict[T, float | None] = dict.fromkeys([*batcher.running(), *batcher.waiting()])
    now = passed = 0.0
    while len(simulated):
        if lanes:
            lanes.advance(passed, simulated)
        passed = lanes.seconds_to_next() if lanes else math.inf
        batch = simulated.next_batch()
        if batch:
            lane = batch[0].lane
            prices = lane.prices if lane else Prices(latency)
            shape = batch[0].shape
            if not is_decoding(shape) and prices.latency.seconds(shape, 1) is None:
                return done
            seconds = prices.call(shape, sum(each.rows for each in batch))
            passed = min(passed, seconds * min(each.left for each in batch))
        if math.isinf(passed):
            return done
        now += passed
        for each in batch:
            each.left -= passed / seconds
            if each.left >= SMALLEST_PART:
                continue
            if each.decoding:
                each.decode_next(each.decoding)
            else:
                done[each.item] = now
                simulated.discard(each)
    return done


def estimate_jobs(batcher: Batcher[ImageTask], lanes: SimulatedLanes) -> dict[Job, float | None]:
    """Return the seconds until each job in ``batcher`` is done, None while the speed is unknown."""
    jobs: dict[Job, float | None] = {}
    for image_task, seconds in estimate_completion(batcher, LatencyModel(), lanes).items():
        jobs[image_task.job] = None if seconds is None else max(seconds, jobs.get(image_task.job) or 0)
    return jobs


def estimate_new_job(batcher: Batcher[ImageTask], lanes: SimulatedLanes, job: Job) -> float | None:
    """Return the seconds until ``job`` would be done if its images were added now, None while the speed is unknown."""
    queue = batcher.copy(lambda image_task: image_task)
    for image_task in job.image_tasks:
        queue.add(image_task)
    return estimate_jobs(queue, lanes)[job]
