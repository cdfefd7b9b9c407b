"""The worker thread's part: step a batch, then preview or decode each image."""

import gc
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from diffusion.backends.row_counts import filled_up
from diffusion.errors import DarkroomError, OutOfMemoryError, as_darkroom_error
from diffusion.families.latent_preview import to_strip
from diffusion.families.model import ImageModel
from diffusion.images.upscaler import Enlargement
from diffusion.loading.device import is_out_of_memory, trim_memory
from diffusion.lora.weights import LoraMemoryFullError
from diffusion.sampling.trajectory import Trajectory, step
from diffusion.serving.fitting import MEMORY_RETRY_SECONDS, FittingRows
from diffusion.serving.job import ImageTask
from diffusion.serving.kept_steps import MAX_BYTES, Answer, KeptSteps, segments_of
from diffusion.serving.latency import Shape

log = logging.getLogger(__name__)
NOTHING_MOVES_SECONDS = 0.01  # between two looks for memory for LoRAs
LORA_MEMORY_SECONDS = 600.0  # how long an image waits for memory for LoRAs
TRIM_SECONDS = 10.0  # between two returns of freed memory to the system


class ModelRunner:
    """Draws images with ``model``, in one thread, or in several whose calls use other networks.

    An error of one image is stored in its task and does not affect others. ``fitting_rows`` is how many rows of a network call
    the device's memory holds, as far as that is known.
    """

    def __init__(self, model: ImageModel) -> None:
        self._model = model
        self._lock = threading.Lock()  # of all that calls leave for later ones
        self.fitting_rows = FittingRows()
        self._kept = KeptSteps(MAX_BYTES)
        self._revision = model.revision
        self._called: set[tuple[Shape, int]] = set()  # shapes and rows, as they are filled up
        self._trimmed = time.perf_counter()
        self._waiting: ImageTask | None = None  # for memory for LoRAs
        self._waiting_since = 0.0

    def leave_behind(self) -> None:
        """Let other threads go on, though one that hangs may hold the lock. Safe in any thread."""
        self._lock = threading.Lock()

    def advance(self, batch: Sequence[ImageTask], preview_seconds: float) -> bool:
        """Start new images, step all, then preview each; or decode those that are drawn.

        Previews are ``preview_seconds`` apart. Of a picture for the upscaler, one tile is enlarged. Returns whether its time is
        typical: nothing was started, one call sufficed, and another one like it came before, as backends generate code at the
        first.
        """
        if batch[0].job.request.by_upscaler:
            for image_task in batch:
                with _errors_go_to(image_task):
                    self._enlarge(image_task)
            return True
        if batch[0].is_drawn:
            return self._decode(batch)
        are_started = all(image_task.trajectory is not None for image_task in batch)
        with self._lock:
            self._start_all(batch)
        moving = [image_task for image_task in batch if image_task.trajectory is not None]
        is_typical = bool(moving)
        if not moving:
            time.sleep(NOTHING_MOVES_SECONDS)  # others, of other groups, may make room
        if moving:
            with _errors_go_to(*moving):
                is_typical = self._step(moving)
        stepped = [image_task for image_task in moving if not image_task.error]
        if stepped:
            with self._lock:
                self._append_previews(stepped)
        for image_task in stepped:
            with _errors_go_to(image_task):
                self._preview(image_task, preview_seconds)
        if time.perf_counter() - self._trimmed > TRIM_SECONDS:
            trim_memory()
            self._trimmed = time.perf_counter()
        return is_typical and are_started

    def _start_all(self, batch: Sequence[ImageTask]) -> None:
        """Start the new images of ``batch``.

        While others wait for their step, only one picture to start from is encoded; the next ones are with the next steps.
        """
        can_encode = others_wait = any(image_task.trajectory is not None for image_task in batch)
        for image_task in [image_task for image_task in batch if image_task.trajectory is None]:
            if others_wait and image_task.job.request.image is not None:
                if not can_encode:
                    continue
                can_encode = False
            image_task.waits_for_memory = self._must_wait(image_task)
            if not image_task.waits_for_memory:
                with _errors_go_to(image_task):
                    self._start(image_task)

    def _start(self, image_task: ImageTask) -> None:
        """Start an image, unless the LoRAs of others leave no memory for its own; then it waits until some are done."""
        try:
            image_task.trajectory = self._model.trajectory(image_task.job.request, image_task.index)
            self._go_on(image_task, image_task.trajectory)
        except LoraMemoryFullError:
            image_task.waits_for_memory = True
            if self._waiting is not image_task:
                self._waiting = image_task
                self._waiting_since = time.perf_counter()
            elif time.perf_counter() - self._waiting_since > LORA_MEMORY_SECONDS:
                self._waiting = None
                raise
        else:
            if self._waiting is image_task:
                self._waiting = None

    def _go_on(self, image_task: ImageTask, trajectory: Trajectory) -> None:
        """Skip the network calls of an image whose answers are kept from another one."""
        if self._revision != self._model.revision:
            self._kept.clear()
            self._called.clear()
            self._revision = self._model.revision
        image_task.segments = segments_of(image_task.job.request, image_task.index, trajectory)
        if not image_task.job.draws_anew:
            image_task.x0_previews = self._kept.go_on(trajectory, image_task.segments)

    def _must_wait(self, image_task: ImageTask) -> bool:
        """Whether another image waits for memory for LoRAs, and this one would take of that, too.

        Else it could wait forever.
        """
        first = self._waiting
        return bool(
            first and first is not image_task and not first.job.done and not first.error and image_task.job.request.loras
        )

    def _enlarge(self, image_task: ImageTask) -> None:
        """Enlarge the next tile of a picture."""
        enlargement = image_task.trajectory or self._model.enlarge(image_task.job.request)
        if isinstance(enlargement, Enlargement):
            image_task.trajectory = enlargement
            enlargement.advance()
            image_task.image = enlargement.image

    def _step(self, image_tasks: Sequence[ImageTask]) -> bool:
        """Step ``image_tasks`` together, and each alone if that fails.

        So only the cause of an error fails. Returns whether its time is typical.
        """
        try:
            return self._step_together(image_tasks)
        except Exception as error:
            if len(image_tasks) == 1:
                raise
            log.warning("a step of %d pictures failed, so each steps alone: %r", len(image_tasks), error)
        # Here, outside the handler, the traceback no longer keeps the tensors of the failed call alive.
        for image_task in image_tasks:
            with _errors_go_to(image_task):
                self._step_together([image_task])
        return False

    def _step_together(self, image_tasks: Sequence[ImageTask]) -> bool:
        """Step by one network call, or by ever smaller ones while memory runs out.

        Even the rows of one image are split. Returns whether its time is typical. Raises `OutOfMemoryError` if one row does not
        fit, and the errors of the calls.
        """
        trajectories = _trajectories(image_tasks)
        shape = image_tasks[0].shape
        rows = sum(image_task.rows for image_task in image_tasks)
        rows_per_call = min(rows, self.fitting_rows.rows(shape))
        while not self._fits(trajectories, rows_per_call):
            if rows_per_call == 1:
                self.fitting_rows.forget(shape)  # smaller calls are no help
                raise OutOfMemoryError
            rows_per_call //= 2
            self.fitting_rows.record(shape, rows_per_call)
            log.warning(
                "out of memory: for %g s, calls for latents of %s take at most %d rows",
                MEMORY_RETRY_SECONDS,
                shape,
                rows_per_call,
            )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        for image_task, trajectory in zip(image_tasks, trajectories, strict=True):
            image_task.error = trajectory.error
        call = shape, filled_up(rows)
        is_known = call in self._called
        self._called.add(call)
        return is_known and rows_per_call == rows

    def _fits(self, trajectories: Sequence[Trajectory], rows_per_call: int) -> bool:
        """Step ``trajectories``; return False if memory ran out, and they did not step."""
        try:
            step(self._model, trajectories, rows_per_call)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _append_previews(self, image_tasks: Sequence[ImageTask]) -> None:
        """Append a preview of each; if that fails for all together, of each alone."""
        trajectories = _trajectories(image_tasks)
        try:
            previews = self._model.preview_latents(trajectories)
        except Exception:
            if len(image_tasks) > 1:
                for image_task in image_tasks:
                    self._append_previews([image_task])
                return
            with _errors_go_to(*image_tasks):
                raise
        else:
            for image_task, trajectory, preview in zip(image_tasks, trajectories, previews, strict=True):
                image_task.x0_previews.append(preview)
                if trajectory.prediction is not None:
                    self._kept.add(image_task.segments, trajectory.step_index - 1, Answer.of(trajectory.prediction, preview))

    def _preview(self, image_task: ImageTask, preview_seconds: float) -> None:
        now = time.perf_counter()
        if not image_task.error and not image_task.is_drawn and now - image_task.previewed >= preview_seconds:
            image_task.preview = to_strip(image_task.x0_previews[-1:])
            image_task.previewed = now

    def _decode(self, image_tasks: Sequence[ImageTask]) -> bool:
        """Decode ``image_tasks`` in one call, and each alone if that fails; return whether one call sufficed."""
        try:
            self._decode_together(image_tasks)
        except Exception as error:
            if len(image_tasks) > 1:
                log.warning("decoding %d pictures failed, so each is decoded alone: %r", len(image_tasks), error)
                if is_out_of_memory(error):
                    self.fitting_rows.record(image_tasks[0].shape, 1)
            else:
                with _errors_go_to(*image_tasks):
                    raise
        else:
            return True
        if len(image_tasks) > 1:  # here, outside the handler, the traceback no longer keeps tensors alive
            for image_task in image_tasks:
                self._decode([image_task])
        return False

    def _decode_together(self, image_tasks: Sequence[ImageTask]) -> None:
        requests = [image_task.job.request for image_task in image_tasks]
        latents = [trajectory.latents for trajectory in _trajectories(image_tasks) if trajectory.latents is not None]
        images = self._model.finish(requests, latents)
        for image_task, image in zip(image_tasks, images, strict=True):
            image_task.timelapse = self._model.timelapse(image_task.job.request, image_task.x0_previews)
            image_task.image = image_task.preview = image


def _trajectories(image_tasks: Sequence[ImageTask]) -> list[Trajectory]:
    return [image_task.trajectory for image_task in image_tasks if isinstance(image_task.trajectory, Trajectory)]


def release_memory() -> None:
    """Return the memory of a model that is no longer used to the system."""
    gc.collect()  # a model and its caches refer to each other
    trim_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _errors_go_to(*image_tasks: ImageTask) -> Iterator[None]:
    """Store an exception in ``image_tasks``, so that only they fail."""
    try:
        yield
    except Exception as error:
        log.exception("an image failed")
        for image_task in image_tasks:
            image_task.error = error


def as_image_error(error: Exception) -> DarkroomError:
    """Return ``error`` as the one that the member sees."""
    if not isinstance(error, DarkroomError) and is_out_of_memory(error):
        return OutOfMemoryError()
    return as_darkroom_error(error)
