"""The results of the engine: a job's progress and its images."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image

from diffusion.request import ImageRequest

if TYPE_CHECKING:
    from diffusion.safety import SafetyCheck

Flags = dict[str, float]  # the labels for which an image is flagged, each with its score from 0 to 1; empty where it is fine


@dataclass(frozen=True)
class Progress:
    """A job's progress: ``completed`` of ``total`` network calls, and previews.

    The calls count over all its images. ``place`` is the number of images that start before the job's first, None once that
    has started. While ``resuming``, another machine repeats the work of one that was lost.
    """

    place: int | None
    completed: int
    total: int
    previews: tuple[Image.Image, ...] = ()
    resuming: bool = False


@dataclass(frozen=True)
class ImageResult:
    """Finished images, the seed of each and the seconds from first to last step.

    ``timelapses`` has one strip per image: below one another, a preview after every step, one pixel a latent cell.
    ``safety_check`` is the one loaded with the model that drew them.
    """

    request: ImageRequest
    images: tuple[Image.Image, ...]
    seeds: tuple[int, ...]
    seconds: float
    model: str
    timelapses: tuple[Image.Image, ...] = ()
    safety_check: "SafetyCheck | None" = field(default=None, repr=False)
