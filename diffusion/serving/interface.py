"""The interface of an engine, local or remote, as the bot uses it. No tensors."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from PIL import Image

from diffusion.config import EngineConfig
from diffusion.families.spec import ModelSpec
from diffusion.request import ImageRequest
from diffusion.result import Flags
from diffusion.serving.admission import Load
from diffusion.serving.job import Job
from diffusion.serving.latency import Step
from diffusion.serving.offers import LoadModel, Offer


class ImageEngine(Protocol):
    """An engine that draws in this process or on the replicas of a cluster.

    See `Engine` and `diffusion.cluster.remote.RemoteEngine`. ``watchers`` receive each step. ``before_steps`` receive the jobs
    of the next step in this process, when they change. Use an engine by ``async with``.
    """

    config: EngineConfig
    watchers: list[Callable[[Step], None]]
    before_steps: list[Callable[[Sequence[Job]], None]]

    @property
    def model(self) -> ModelSpec:
        """The requests that the model accepts that draws by default."""

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """What the models accept that members can choose, by name; empty where there is no choice."""

    def model_of(self, name: str) -> ModelSpec:
        """Return what the model called ``name`` accepts, by default the default one; raises `InvalidRequestError`."""

    @property
    def unfinished(self) -> int:
        """How many images wait or are being drawn."""

    @property
    def hung_threads(self) -> int:
        """How many threads were left behind because a step hangs in them."""

    @property
    def resident_bytes(self) -> Mapping[str, int]:
        """The bytes of the weights of each model in this process's memory, by name."""

    @property
    def paused(self) -> bool:
        """Whether `pause` holds images back."""

    @property
    def can_screen(self) -> bool:
        """Whether there is a safety check for `screen_images`."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    def submit(self, request: ImageRequest, owner: Hashable = None, company: Hashable = None) -> Job:
        """Queue ``request``; raises `DarkroomError` such as `QueueFullError`.

        It shares steps only with requests of the same ``company``.
        """

    def jobs_of(self, owner: Hashable) -> int:
        """Count the unfinished jobs of ``owner``."""

    def price(self, request: ImageRequest) -> float:
        """Return the price of ``request`` in seconds, by what steps have taken so far."""

    def load(self, owner: Hashable = None) -> Load:
        """Return the unfinished work of ``owner``, by default that of all owners."""

    def estimate_wait(self, request: ImageRequest, owner: Hashable = None) -> float | None:
        """Estimate the seconds until ``request`` would be done if it were submitted now, None if unknown.

        Raises `InvalidRequestError`.
        """

    def estimate_completion(self) -> dict[Job, float | None]:
        """Estimate the seconds until each unfinished job is done, None if unknown."""

    async def screen_images(self, images: Sequence[Image.Image], by: Any = None) -> list[Flags]:
        """Return the labels for which each image is flagged; raises `GenerationError`."""

    def pause(self) -> None:
        """Stop after the current step, until `resume`."""

    def resume(self) -> None:
        """Continue after `pause`."""

    async def offer(self, offers: Mapping[str, Offer]) -> None:
        """Let members choose models by name: these ``offers`` and no others."""

    async def switch(self, load: LoadModel, name: str = "") -> None:
        """Switch the default to the model called ``name``, or else to the one that ``load`` returns.

        Raises the errors of ``load``; nothing changes then.
        """
