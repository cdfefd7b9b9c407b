"""What the worker thread does with a batch: a step of all its images, then a look at each."""

import gc
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from diffusion.errors import DarkroomError, GenerationFailed, OutOfMemory
from diffusion.families.latent_preview import to_strip
from diffusion.families.stable_diffusion import ImageDiffusionModel
from diffusion.loading.device import trim_memory
from diffusion.sampling.trajectory import step
from diffusion.serving.job import Exposure

log = logging.getLogger(__name__)
TRIM_SECONDS = 10.0  # in between, what was freed counts as held


class Runner:
    """Develops exposures on ``model``, in one thread; what goes wrong with one is noted on it and fails no other.

    ``fitting_rows`` is how many rows of a network call the device has memory for, as far as that is known.
    """

    def __init__(self, model: ImageDiffusionModel) -> None:
        self._model = model
        self.fitting_rows = sys.maxsize
        self._trimmed = time.perf_counter()

    def advance(self, batch: Sequence[Exposure], preview_seconds: float) -> None:
        """Start what is new, step all, look at or decode each; previews are ``preview_seconds`` apart."""
        for exposure in batch:
            if exposure.trajectory is None:
                with _blamed_on(exposure):
                    exposure.trajectory = self._model.trajectory(exposure.job.request, exposure.index)
        moving = [exposure for exposure in batch if exposure.trajectory is not None]
        if moving:
            with _blamed_on(*moving):
                self._step(moving)
        stepped = [exposure for exposure in moving if not exposure.error]
        if stepped:
            with _blamed_on(*stepped):
                self._look_at(stepped)
        for exposure in stepped:
            with _blamed_on(exposure):
                self._show(exposure, preview_seconds)
        if time.perf_counter() - self._trimmed > TRIM_SECONDS:
            trim_memory()
            self._trimmed = time.perf_counter()

    def _step(self, exposures: Sequence[Exposure]) -> None:
        """Step ``exposures`` together, or in halves where the device has too little memory for all."""
        trajectories = [exposure.trajectory for exposure in exposures if exposure.trajectory]
        try:
            step(self._model, trajectories)
        except Exception as error:
            if not out_of_memory(error):
                raise
        else:
            for exposure, trajectory in zip(exposures, trajectories, strict=True):
                exposure.error = trajectory.error
            return
        # Here, outside the handler, the traceback no longer keeps the tensors of the failed call alive.
        if len(exposures) == 1:
            raise OutOfMemory
        self.fitting_rows = max(1, sum(exposure.rows for exposure in exposures) // 2)
        log.warning("out of memory: calls of the network take at most %d rows from now on", self.fitting_rows)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        middle = len(exposures) // 2
        for half in (exposures[:middle], exposures[middle:]):
            with _blamed_on(*half):
                self._step(half)

    def _look_at(self, exposures: Sequence[Exposure]) -> None:
        trajectories = [exposure.trajectory for exposure in exposures if exposure.trajectory]
        for exposure, look in zip(exposures, self._model.look(trajectories), strict=True):
            exposure.looks.append(look)

    def _show(self, exposure: Exposure, preview_seconds: float) -> None:
        trajectory, now = exposure.trajectory, time.perf_counter()
        if trajectory is None or exposure.error:
            return
        if trajectory.latents is not None:
            request = exposure.job.request
            exposure.film = self._model.film(request, exposure.looks)
            exposure.image = exposure.preview = self._model.picture(request, trajectory.latents)
        elif now - exposure.previewed >= preview_seconds:
            exposure.preview, exposure.previewed = to_strip(exposure.looks[-1:]), now


def collect() -> None:
    """Give the memory of a model back that nobody draws with any more."""
    gc.collect()  # a model and the prompts that it remembers hold one another
    trim_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def compile_model(model: ImageDiffusionModel) -> None:
    """Compile ``model``; where that fails, it goes on uncompiled and the log says why."""
    began = time.perf_counter()
    try:
        model.compile()
    except Exception:
        log.exception("%s could not be compiled and goes on as it is", model.name)
    else:
        log.info("%s compiled in %.0f s", model.name, time.perf_counter() - began)


@contextmanager
def _blamed_on(*exposures: Exposure) -> Iterator[None]:
    """Let what goes wrong inside fail ``exposures`` alone; the worker goes on with the others."""
    try:
        yield
    except Exception as error:
        log.exception("an image failed")
        for exposure in exposures:
            exposure.error = error


def out_of_memory(error: Exception) -> bool:
    """Whether ``error`` says that the device has too little memory."""
    # On the CPU, torch tells it by a RuntimeError like any other.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def explained(error: Exception) -> DarkroomError:
    """Say what ``error`` means for the member whose picture it ended."""
    if isinstance(error, DarkroomError):
        return error
    if out_of_memory(error):
        return OutOfMemory()
    failed = GenerationFailed("Something went wrong while the picture was made. Please try again.")
    failed.__cause__ = error
    return failed
