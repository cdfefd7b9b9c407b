"""How much a queue holds, and whether it takes another request. No tensors."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from diffusion.config import EngineConfig
from diffusion.errors import QueueFullError
from diffusion.request import ImageRequest
from diffusion.serving.job import Job
from diffusion.text import plural

Price = Callable[[ImageRequest], float]
QUEUE_FULL: Final = plural(
    "The queue is full: {count} picture is waiting already. Please try again in a minute.",
    "The queue is full: {count} pictures are waiting already. Please try again in a minute.",
)


@dataclass(frozen=True)
class Load:
    """Unfinished work: the pictures of its requests and the price of what is left."""

    pictures: int = 0
    seconds: float = 0.0


def load_of(jobs: Iterable[Job], price: Callable[[Job], float]) -> Load:
    """Return the load of ``jobs``, whose models have to draw them even if they are offered no more."""
    pictures = 0
    seconds = 0.0
    for job in jobs:
        pictures += job.request.count
        seconds += price(job) * job.share_left
    return Load(pictures, seconds)


def require_room(config: EngineConfig, load: Load, request: ImageRequest, price: Price) -> None:
    """Raise `QueueFullError` unless a queue with ``load`` takes ``request``.

    An empty queue takes every request that `EngineConfig.validate` allows.
    """
    if not load.pictures:
        return
    too_many = load.pictures + request.count > config.max_waiting
    if too_many or load.seconds + price(request) > config.max_waiting_seconds:
        raise QueueFullError(QUEUE_FULL, count=load.pictures)
