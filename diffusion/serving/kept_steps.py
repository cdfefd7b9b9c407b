"""The network's answers of recent pictures, with which another picture of the same beginning goes on.

A picture depends on its request alone, so a branch, a repetition or more pictures of a request begin with answers that the
network has given before. They are kept, not the latents: the sampling loop recomputes those from them, with all that it
remembers and draws, so that the result is the same to the byte.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final, Self

import torch
from PIL import Image
from torch import Tensor

from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import Trajectory

MAX_BYTES: Final = 64 * 2**20  # of each model: about 1,000 pictures of the embedded one, or 30 of Stable Diffusion 1
# Fields that do not change the latents of a picture, or that its key has in another form.
LEFT_OUT: Final = frozenset(
    {"count", "variants", "styles", "branches", "upscale", "animation", "by_upscaler", "model", "image", "mask"}
)


@dataclass(frozen=True)
class Answer:
    """The guided ``prediction`` of a network call, and the ``preview`` that it gave."""

    prediction: Tensor
    preview: Tensor

    @classmethod
    def of(cls, prediction: Tensor, preview: Tensor) -> Self:
        """Return the answer without the rows of others, which its memory may hold, too."""
        is_alone = prediction.untyped_storage().nbytes() == prediction.nbytes
        return cls(prediction if is_alone else prediction.clone(), preview)

    @property
    def nbytes(self) -> int:
        """Its bytes in memory."""
        return self.prediction.nbytes + self.preview.nbytes


@dataclass(frozen=True)
class Segment:
    """The network calls ``start`` to before ``end`` of a picture, which follow one prompt.

    Pictures with the same ``key`` have the same answers there, as long as both follow it.
    """

    key: bytes
    start: int
    end: int


class KeptSteps:
    """Keeps answers of at most ``max_bytes``; the least recently used segments leave first.

    It is for one model, and for one thread at a time.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._answers: OrderedDict[bytes, list[Answer]] = OrderedDict()
        self._nbytes = 0

    def __contains__(self, key: bytes) -> bool:
        return key in self._answers

    def clear(self) -> None:
        """Forget all answers."""
        self._answers.clear()
        self._nbytes = 0

    @torch.inference_mode()
    def go_on(self, trajectory: Trajectory, segments: Sequence[Segment]) -> list[Tensor]:
        """Advance ``trajectory``, which has not started, by the answers that are kept; return their previews.

        At least its last network call remains.
        """
        previews = []
        for segment in segments:
            answers = self._answers.get(segment.key, [])[: segment.end - segment.start]
            for answer in answers[: max(0, trajectory.total - 1 - segment.start)]:
                trajectory.advance(answer.prediction)
                previews.append(answer.preview)
            if answers:
                self._answers.move_to_end(segment.key)
            if trajectory.step_index < segment.end:
                break
        return previews

    def add(self, segments: Sequence[Segment], call: int, answer: Answer) -> None:
        """Keep the ``answer`` of network call number ``call`` of a picture."""
        segment = next((each for each in segments if each.start <= call < each.end), None)
        if segment is None:
            return
        answers = self._answers.setdefault(segment.key, [])
        self._answers.move_to_end(segment.key)
        if len(answers) != call - segment.start:  # kept already, or those before it are not
            return
        answers.append(answer)
        self._nbytes += answer.nbytes
        while self._nbytes > self._max_bytes:
            _, oldest = self._answers.popitem(last=False)
            self._nbytes -= sum(each.nbytes for each in oldest)


def segments_of(request: ImageRequest, index: int, trajectory: Trajectory) -> tuple[Segment, ...]:
    """Return the segments of image ``index`` of ``request``, which ``trajectory`` draws.

    Empty for one whose answers depend on more than its request and the answers before: LoRAs are files that may change, and
    guidance that is not computed in each call is no part of an answer.
    """
    if request.loras or request.computes_guidance_every > 1:
        return ()
    branches = trajectory.branches[len(trajectory.branches) - len(request.branches) :]  # the others come of variety
    starts = [0, *(branch.step_index for branch in branches)]
    ends = [*starts[1:], trajectory.total]
    digest = _digest(request, index)
    segments = []
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if number:
            digest.update(repr(request.branches[number - 1]).encode())
        segments.append(Segment(digest.digest(), start, end))
    return tuple(segments)


def _digest(request: ImageRequest, index: int) -> "hashlib._Hash":
    """Return a checksum of all that the beginning of image ``index`` depends on, without its branches."""
    single = request.single(index)
    values = [(field.name, getattr(single, field.name)) for field in fields(single) if field.name not in LEFT_OUT]
    digest = hashlib.sha256(repr((values, (index, request.count) if request.morph_to else ())).encode())
    for part in _pixels(request):
        digest.update(part)
    return digest


def _pixels(request: ImageRequest) -> Iterator[bytes]:
    """Yield size, mode and pixels of what ``request`` starts from."""
    for image in (request.image, request.mask):
        if isinstance(image, Image.Image):
            yield repr((image.mode, image.size)).encode()
            yield image.tobytes()
        else:
            yield b"none"
