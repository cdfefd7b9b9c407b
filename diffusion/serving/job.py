"""A request in progress, and its images as the batcher and the worker see them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from diffusion.errors import DarkroomError, JobCancelledError
from diffusion.families.spec import ModelSpec
from diffusion.request import DISTILLED, ImageRequest
from diffusion.result import ImageResult, Progress
from diffusion.serving.lanes import Lane
from diffusion.serving.latency import Shape, decoding_shape

if TYPE_CHECKING:  # the bot follows jobs of a remote engine without torch
    from torch import Tensor

    from diffusion.images.upscaler import Enlargement
    from diffusion.sampling.trajectory import Trajectory
    from diffusion.serving.kept_steps import Segment


class Job:
    """A request in progress: iterate for `Progress`, await for the `ImageResult`."""

    def __init__(self, request: ImageRequest, owner: Hashable, model: ModelSpec, on_cancel: Callable[["Job"], None]) -> None:
        self.request = request
        self.owner = owner
        self.label: Hashable = None  # what the caller knows it by
        self.lane: Lane | None = None  # that of the model that draws it
        self.company: Hashable = None  # its images share network calls with those of jobs of the same company
        self.image_tasks = [ImageTask(self, index, model) for index in range(request.count)]
        self.progress = Progress(None, 0, request.count * model.evaluations(request))
        self.recipe: Hashable = None  # all that its pictures depend on, to the caller
        self.draws_anew = False  # whether it makes all network calls, also those whose answers are kept
        self.started: float | None = None  # time.perf_counter() at the first step
        self._on_cancel = on_cancel
        self._result: asyncio.Future[ImageResult] = asyncio.get_running_loop().create_future()
        # Reads the exception, so that asyncio does not log a failed job that nobody awaits.
        self._result.add_done_callback(lambda future: future.exception())
        self._changed = asyncio.Event()
        self._begun = asyncio.Event()

    @property
    def done(self) -> bool:
        """Whether the job is finished, failed or cancelled."""
        return self._result.done()

    @property
    def share_left(self) -> float:
        """The share of its network calls that are still to come."""
        if self.done and not self._result.exception():
            return 0.0
        return 1 - self.progress.completed / self.progress.total

    def cancel(self) -> bool:
        """Cancel the job and return whether it was unfinished.

        Its images leave the batch at the next step.
        """
        if self.done:
            return False
        self._on_cancel(self)
        self.finish(JobCancelledError("The job was cancelled."))
        return True

    def __await__(self) -> Generator[Any, None, ImageResult]:
        # A cancelled waiter must not cancel the job.
        return asyncio.shield(self._result).__await__()

    async def __aiter__(self) -> AsyncIterator[Progress]:
        """Yield the latest `Progress` whenever it changes, until the job ends."""
        seen = None
        while not self.done:
            if self.progress is not seen:
                seen = self.progress
                yield seen
            else:
                changed = self._changed
                await changed.wait()

    def measured(self) -> Progress:
        """Compute the progress from the images."""
        trajectories = [image_task.trajectory for image_task in self.image_tasks if image_task.trajectory]
        each = trajectories[0].total if trajectories else self.image_tasks[0].calls
        return Progress(
            place=None,
            completed=sum(each.calls_made for each in self.image_tasks),
            total=each * len(self.image_tasks),
            previews=tuple(image_task.preview for image_task in self.image_tasks if image_task.preview),
        )

    def restart_alone(self, image_task: "ImageTask", model: ModelSpec) -> "ImageTask":
        """Replace ``image_task`` by one that begins anew and shares no calls.

        A thread that hangs may still write to the old one.
        """
        fresh = ImageTask(self, image_task.index, model)
        fresh.is_alone = True
        self.image_tasks[self.image_tasks.index(image_task)] = fresh
        return fresh

    async def wait(self, seconds: float) -> None:
        """Wait until the job has ended, but no longer than ``seconds``."""
        await asyncio.wait([self._result], timeout=seconds)

    async def wait_to_begin(self, seconds: float) -> None:
        """Wait until the first step begins or the job has ended, but no longer than ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._begun.wait()

    def report(self, progress: Progress) -> None:
        """Publish ``progress`` to everyone who iterates the job."""
        if progress != self.progress:
            self.progress = progress
            if progress.place is None:
                self._begun.set()
            self._wake()

    def finish(self, outcome: ImageResult | DarkroomError) -> None:
        """End the job with its result or its error."""
        if not self.done:
            if isinstance(outcome, DarkroomError):
                self._result.set_exception(outcome)
            else:
                self._result.set_result(outcome)
            self._begun.set()
            self.image_tasks = []  # breaks the reference cycle, so that their images are freed at once
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class ImageTask:
    """One image of a job, as the batcher and the worker see it."""

    def __init__(self, job: Job, index: int, model: ModelSpec) -> None:
        self.job = job
        self.index = index
        self.assign(model)
        self.trajectory: Trajectory | Enlargement | None = None
        self.x0_previews: list[Tensor] = []  # after each network call
        self.segments: Sequence[Segment] = ()  # under which its answers are kept
        self.preview: Image.Image | None = None
        self.previewed = 0.0
        self.image: Image.Image | None = None
        self.timelapse: Image.Image | None = None
        self.error: Exception | None = None
        self.is_alone = False  # whether it shares no calls with other images
        self.waits_for_memory = False  # which images that have started hold

    def assign(self, model: ModelSpec) -> None:
        """Set the ``model`` that draws this image, before it starts."""
        request = self.job.request
        self.call_shape = model.call_shape(request)
        self._seen_size = model.seen_size(request)
        self._rows_at_start = model.rows(request)
        self.calls = model.evaluations(request)  # in all

    @property
    def group(self) -> Hashable:
        """What the images that share a network call have in common."""
        request = self.job.request
        sizes = request.width, request.height, self._seen_size
        is_apart = self.is_alone or request.by_upscaler  # the tiles of an upscaler take turns with the steps of others
        return (self.job.lane, self.shape, sizes, self.job.company, self if is_apart else None)

    @property
    def lane(self) -> Lane | None:
        """The lane of the model that draws it."""
        return self.job.lane

    @property
    def network(self) -> Hashable:
        """The network that its next call uses."""
        request = self.job.request
        if request.by_upscaler:
            return self.lane, "upscaler"
        if self.is_drawn:
            return self.lane, "decoder"
        return self.lane, "student" if request.sampler == DISTILLED else "denoiser"

    @property
    def owner(self) -> Hashable:
        """The owner whose turn this takes."""
        return self.job.owner

    @property
    def is_drawn(self) -> bool:
        """Whether nothing is left but to decode its latents."""
        return bool(
            self.trajectory
            and self.image is None
            and self.trajectory.step_index == self.trajectory.total
            and not self.job.request.by_upscaler
        )

    @property
    def shape(self) -> Shape:
        """The shape of its next call."""
        request = self.job.request
        return decoding_shape(request.width, request.height) if self.is_drawn else self.call_shape

    @property
    def decoding(self) -> Shape | None:
        """The shape of the call that decodes it later."""
        request = self.job.request
        return None if self.is_drawn or request.by_upscaler else decoding_shape(request.width, request.height)

    @property
    def rows(self) -> int:
        """How many rows of a call this takes next."""
        if self.is_drawn:
            return 1
        return self.trajectory.rows if self.trajectory else self._rows_at_start

    @property
    def left(self) -> int:
        """How many network calls are still to come; 1 until the last one's latents are decoded."""
        if self.is_drawn:
            return 1
        return self.trajectory.total - self.trajectory.step_index if self.trajectory else self.calls

    @property
    def calls_made(self) -> int:
        """How many network calls are complete."""
        return self.trajectory.total - self.left if self.trajectory else 0


def report_places(waiting: Iterable[ImageTask]) -> None:
    """Publish the places of the jobs that have not started; ``waiting`` are their images in the order of admission."""
    reported = set()
    for place, image_task in enumerate(waiting):
        job = image_task.job
        if job.started is None and job not in reported:
            reported.add(job)
            job.report(replace(job.progress, place=place))
