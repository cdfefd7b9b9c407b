"""What the worker thread does with a batch: a step of all its images, then a look at each."""

import gc
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from diffusion.errors import DarkroomError, OutOfMemoryError, as_darkroom_error
from diffusion.families.latent_preview import to_strip
from diffusion.families.model import ImageModel
from diffusion.loading.device import trim_memory
from diffusion.sampling.trajectory import step
from diffusion.serving.job import ImageTask

log = logging.getLogger(__name__)
TRIM_SECONDS = 10.0  # in between, what was freed counts as held


class ModelRunner:
    """Develops exposures on ``model``, in one thread; what goes wrong with one is noted on it and fails no other.

    ``fitting_rows`` is how many rows of a network call the device has memory for, as far as that is known.
    """

    def __init__(self, model: ImageModel) -> None:
        self._model = model
        self.fitting_rows = sys.maxsize
        self._trimmed = time.perf_counter()

    def advance(self, batch: Sequence[ImageTask], preview_seconds: float) -> None:
        """Start what is new, step all, look at or decode each; previews are ``preview_seconds`` apart."""
        for image_task in batch:
            if image_task.trajectory is None:
                with _blamed_on(image_task):
                    image_task.trajectory = self._model.trajectory(image_task.job.request, image_task.index)
        moving = [image_task for image_task in batch if image_task.trajectory is not None]
        if moving:
            with _blamed_on(*moving):
                self._step(moving)
        stepped = [image_task for image_task in moving if not image_task.error]
        if stepped:
            with _blamed_on(*stepped):
                self._append_previews(stepped)
        for image_task in stepped:
            with _blamed_on(image_task):
                self._show(image_task, preview_seconds)
        if time.perf_counter() - self._trimmed > TRIM_SECONDS:
            trim_memory()
            self._trimmed = time.perf_counter()

    def _step(self, image_tasks: Sequence[ImageTask]) -> None:
        """Step ``image_tasks`` together, or in halves where the device has too little memory for all."""
        trajectories = [image_task.trajectory for image_task in image_tasks if image_task.trajectory]
        try:
            step(self._model, trajectories)
        except Exception as error:
            if not out_of_memory(error):
                raise
        else:
            for image_task, trajectory in zip(image_tasks, trajectories, strict=True):
                image_task.error = trajectory.error
            return
        # Here, outside the handler, the traceback no longer keeps the tensors of the failed call alive.
        if len(image_tasks) == 1:
            raise OutOfMemoryError
        self.fitting_rows = max(1, sum(image_task.rows for image_task in image_tasks) // 2)
        log.warning("out of memory: calls of the network take at most %d rows from now on", self.fitting_rows)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        middle = len(image_tasks) // 2
        for half in (image_tasks[:middle], image_tasks[middle:]):
            with _blamed_on(*half):
                self._step(half)

    def _append_previews(self, image_tasks: Sequence[ImageTask]) -> None:
        trajectories = [image_task.trajectory for image_task in image_tasks if image_task.trajectory]
        for image_task, preview_latents in zip(image_tasks, self._model.preview_latents(trajectories), strict=True):
            image_task.x0_previews.append(preview_latents)

    def _show(self, image_task: ImageTask, preview_seconds: float) -> None:
        trajectory, now = image_task.trajectory, time.perf_counter()
        if trajectory is None or image_task.error:
            return
        if trajectory.latents is not None:
            request = image_task.job.request
            image_task.timelapse = self._model.timelapse(request, image_task.x0_previews)
            image_task.image = image_task.preview = self._model.finish(request, trajectory.latents)
        elif now - image_task.previewed >= preview_seconds:
            image_task.preview, image_task.previewed = to_strip(image_task.x0_previews[-1:]), now


def release_memory() -> None:
    """Give the memory of a model back that nobody draws with any more."""
    gc.collect()  # a model and the prompts that it remembers hold one another
    trim_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def compile_model(model: ImageModel) -> None:
    """Compile ``model``; where that fails, it goes on uncompiled and the log says why."""
    began = time.perf_counter()
    try:
        model.compile()
    except Exception:
        log.exception("%s could not be compiled and goes on as it is", model.name)
    else:
        log.info("%s compiled in %.0f s", model.name, time.perf_counter() - began)


@contextmanager
def _blamed_on(*image_tasks: ImageTask) -> Iterator[None]:
    """Let what goes wrong inside fail ``image_tasks`` alone; the worker goes on with the others."""
    try:
        yield
    except Exception as error:
        log.exception("an image failed")
        for image_task in image_tasks:
            image_task.error = error


def out_of_memory(error: Exception) -> bool:
    """Whether ``error`` says that the device has too little memory."""
    # On the CPU, torch tells it by a RuntimeError like any other.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def as_image_error(error: Exception) -> DarkroomError:
    """Say what ``error`` means for the member whose picture it ended."""
    if not isinstance(error, DarkroomError) and out_of_memory(error):
        return OutOfMemoryError()
    return as_darkroom_error(error)
