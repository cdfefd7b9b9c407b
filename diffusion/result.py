"""What comes back from the engine: how far a job is, and its pictures."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image

from diffusion.request import ImageRequest

if TYPE_CHECKING:
    from diffusion.safety import SafetyCheck

Flags = dict[str, float]  # the labels for which an image is flagged, each with its score from 0 to 1; empty where it is fine


@dataclass(frozen=True)
class Progress:
    """How far a job has come: evaluations of the network over all its images, and what they look like so far.

    ``place`` counts the images that will be started before the job's first, None once that has started. ``resuming`` says that
    the machine that made them was lost, and that another has not come as far yet.
    """

    place: int | None
    completed: int
    total: int
    previews: tuple[Image.Image, ...] = ()
    resuming: bool = False


@dataclass(frozen=True)
class ImageResult:
    """Finished pictures with the seed of each, and the seconds from the first step to the last.

    ``timelapses`` shows how each formed: below one another what it was heading for at every step, one pixel a latent cell.
    ``safety_check`` is what belongs to the model that made them.
    """

    request: ImageRequest
    images: tuple[Image.Image, ...]
    seeds: tuple[int, ...]
    seconds: float
    model: str
    timelapses: tuple[Image.Image, ...] = ()
    safety_check: "SafetyCheck | None" = field(default=None, repr=False)
