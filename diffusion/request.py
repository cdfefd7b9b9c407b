"""What was asked for: frozen, checked once where it is made."""

import math
import random
from dataclasses import dataclass, replace
from typing import Any, Final

from PIL import Image

from diffusion.errors import InvalidRequestError
from diffusion.text import plural

SAMPLER_NAMES: Final = {
    "lms": "LMS",
    "ddim": "DDIM",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm++": "DPM++ 2M Karras",
    "unipc": "UniPC",
}
MAX_SEED: Final = 2**32 - 1
ANIMATION_NAMES: Final = {"webp": "WebP", "gif": "GIF"}
UPSCALES: Final = (1, 2, 4)
MAX_UPSCALED_SIDE: Final = 2048  # as much as a PNG below the 10 MiB that Discord takes can hold


@dataclass(frozen=True)
class Limits:
    """The most that a request may ask for; operators set it, `ImageRequest.validate_limits` applies it."""

    side: int = 1024
    steps: int = 150
    count: int = 4
    frames: int = 24


@dataclass(frozen=True)
class ImageRequest:
    """Pictures to be made: ``count`` images from ``prompt``, the first with ``seed``, the next with ``seed + 1`` and so on.

    With ``image`` (RGB) given, the pictures start from it, noised to the level of step ``start_step`` of ``steps``:
    0 keeps nearly nothing of it, ``steps - 1`` nearly everything. With a ``mask`` (L, as large as ``image``) besides, only
    what is white in it is drawn anew and the rest stays. ``branches`` names steps from which on another prompt counts: each
    is (step, prompt), in rising order. With ``morph_to`` given, the ``count`` pictures are the frames of a way from ``prompt``
    to that prompt and from the noise of ``seed`` to that of ``seed + 1``, to be posted as one file of the kind ``animation``.

    With ``variants`` given, ``prompt`` stands for these prompts, and each of them for as many pictures, which share their seeds
    with those of the others, so that they differ in the words alone.

    Guidance is used in a ``guidance_interval`` of the way from noise, in shares of the steps; outside of it the network is
    asked for the prompt alone, which takes half the time (Kynkäänniemi et al. 2024).

    Pictures are drawn at ``width`` x ``height`` and shown ``upscale`` times as large. ``steer`` names a label of the model's
    classifier that they are pushed towards, besides the prompt. Raises `InvalidRequestError` for values no model could use.
    """

    prompt: str
    negative_prompt: str = ""
    width: int = 512
    height: int = 512
    steps: int = 50
    guidance_scale: float = 7.5
    sampler: str = "lms"
    seed: int = 0
    count: int = 1
    image: Image.Image | None = None
    start_step: int = 0
    upscale: int = 1
    guide_label: str = ""
    label_scale: float = 10.0
    mask: Image.Image | None = None
    branches: tuple[tuple[int, str], ...] = ()
    morph_to: str = ""
    animation: str = "webp"
    variants: tuple[str, ...] = ()
    guidance_interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not self.prompt.strip() and self.image is None:
            raise InvalidRequestError("prompt", "The prompt is empty: say what the picture should show.")
        for field in ("width", "height"):
            if getattr(self, field) < 1:
                raise InvalidRequestError(field, "The {field} must be at least 1 pixel.")
        if self.steps < 1:
            raise InvalidRequestError("steps", "At least 1 step is needed.")
        if not math.isfinite(self.guidance_scale) or not 0 <= self.guidance_scale <= 50:
            raise InvalidRequestError(
                "guidance_scale", "The {field} must be a number from {least} to {most}.", least=0, most=50
            )
        first, end = self.guidance_interval
        if not 0 <= first <= end <= 1:
            raise InvalidRequestError(
                "guidance_interval", "Guidance is used from one share of the steps, 0 to 1, to a later one."
            )
        if self.sampler not in SAMPLER_NAMES:
            known = ", ".join(SAMPLER_NAMES)
            raise InvalidRequestError(
                "sampler", "There is no sampler {name}; choose one of {known}.", name=repr(self.sampler), known=known
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidRequestError(
                "seed", "The {field} must be a whole number from {least} to {most}.", least=0, most=MAX_SEED
            )
        if self.count < 1:
            raise InvalidRequestError("count", "At least 1 picture must be asked for.")
        if not 0 <= self.start_step < self.steps:
            raise InvalidRequestError(
                "start_step", "The start step must be from 0 to {most}, below the steps.", most=self.steps - 1
            )
        if self.upscale not in UPSCALES:
            raise InvalidRequestError("upscale", "Pictures can be upscaled by {known}.", known=", ".join(map(str, UPSCALES)))
        if self.upscale > 1 and self.upscale * max(self.width, self.height) > MAX_UPSCALED_SIDE:
            raise InvalidRequestError(
                "upscale",
                plural(
                    "Upscaled pictures may have {most} pixel a side: choose a smaller size or upscale.",
                    "Upscaled pictures may have {most} pixels a side: choose a smaller size or upscale.",
                    by="most",
                ),
                most=MAX_UPSCALED_SIDE,
            )
        if not math.isfinite(self.label_scale) or not 0 <= self.label_scale <= 50:
            raise InvalidRequestError("label_scale", "The {field} must be a number from {least} to {most}.", least=0, most=50)
        if self.mask is not None and (self.image is None or self.mask.size != self.image.size):
            raise InvalidRequestError("mask", "A mask needs a picture of its own size.")
        self._validate_branches()
        self._validate_morph()
        if self.variants and (self.count % len(self.variants) or self.morph_to):
            raise InvalidRequestError("variants", "Several prompts need as many pictures each, and cannot morph.")

    def _validate_branches(self) -> None:
        before = self.start_step
        for step, prompt in self.branches:
            if not before < step < self.steps:
                raise InvalidRequestError(
                    "branches",
                    "A branch must begin after step {before} and before step {steps}.",
                    before=before,
                    steps=self.steps,
                )
            if not prompt.strip():
                raise InvalidRequestError("branches", "The prompt is empty: say what the picture should become.")
            before = step

    def _validate_morph(self) -> None:
        if self.animation not in ANIMATION_NAMES:
            raise InvalidRequestError("animation", "Animations can be {known}.", known=" / ".join(ANIMATION_NAMES.values()))
        if self.morph_to and self.count < 2:
            raise InvalidRequestError("count", "A morph needs at least 2 frames.")
        if self.morph_to and (self.image is not None or self.branches):
            raise InvalidRequestError(
                "morph_to", "A morph goes from text to text: it can neither start from a picture nor branch."
            )

    def replace(self, **changes: Any) -> "ImageRequest":
        """Give a changed copy, checked anew."""
        return replace(self, **changes)

    def validate_limits(self, limits: Limits) -> None:
        """Raise `InvalidRequestError` where this asks for more than ``limits`` allow."""
        for field, value, most in (
            ("width", self.width, limits.side),
            ("height", self.height, limits.side),
            ("steps", self.steps, limits.steps),
            ("frames", self.count, limits.frames) if self.morph_to else ("count", self.count_each, limits.count),
        ):
            if value > most:
                raise InvalidRequestError(field, "The {field} may be at most {most} here, not {value}.", most=most, value=value)

    @property
    def uses_classifier(self) -> bool:
        """Whether a classifier changes anything."""
        return bool(self.guide_label) and self.label_scale > 0

    @property
    def evaluations(self) -> int:
        """How often the network is asked for one image: once a step, by Heun's method twice but for the last."""
        steps = self.steps - self.start_step
        return 2 * steps - 1 if self.sampler == "heun" else steps

    @property
    def prompts(self) -> tuple[str, ...]:
        """All that the pictures are to show, one after another or at once."""
        return (*(self.variants or (self.prompt,)), *self.later_prompts)

    @property
    def later_prompts(self) -> tuple[str, ...]:
        """What the pictures are to become after `prompt`."""
        return (*([self.morph_to] if self.morph_to else ()), *(prompt for _, prompt in self.branches))

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed an image, wrapping round at the largest; the frames of a morph share theirs, and so do variants."""
        if self.morph_to:
            return (self.seed,) * self.count
        return tuple(self._seed(index % self.count_each) for index in range(self.count))

    @property
    def count_each(self) -> int:
        """How many pictures there are of one prompt."""
        return self.count // max(1, len(self.variants))

    def single(self, index: int) -> "ImageRequest":
        """Give the request for image ``index`` alone; a frame of a morph is nothing without the others."""
        if self.morph_to:
            return self
        prompt = self.variants[index // self.count_each] if self.variants else self.prompt
        return self.replace(prompt=prompt, variants=(), seed=self.seeds[index], count=1)

    def _seed(self, index: int) -> int:
        return (self.seed + index) % (MAX_SEED + 1)

    @property
    def morph_seed(self) -> int:
        """The seed of the noise that a morph ends with."""
        return self._seed(1)

    def morph_weight(self, index: int) -> float:
        """Say how far image ``index`` is on its way to `morph_to`, from 0 to 1."""
        return index / (self.count - 1) if self.morph_to else 0.0

    def img2img(self, image: Image.Image, start_step: int) -> "ImageRequest":
        """Give a copy whose pictures start from ``image``, whatever those of this one start from and however they go on."""
        count = 1 if self.morph_to else self.count
        return self.replace(image=image, start_step=start_step, mask=None, branches=(), morph_to="", count=count)

    def branch_at(self, step: int, prompt: str) -> "ImageRequest":
        """Give a copy that goes like this one up to ``step`` and heeds ``prompt`` from there on."""
        kept = tuple(branch for branch in self.branches if branch[0] < step)
        return self.replace(branches=(*kept, (step, prompt)))


def random_seed() -> int:
    """Draw a seed for a request that names none."""
    return random.randrange(MAX_SEED + 1)


def start_step_for(similarity: float, steps: int) -> int:
    """Give the step to start from so that a share ``similarity`` in [0, 1] of all ``steps`` is skipped."""
    if not math.isfinite(similarity) or not 0 <= similarity <= 1:
        raise InvalidRequestError("similarity", "The {field} must be a number from {least} to {most}.", least=0, most=1)
    return min(round(similarity * steps), steps - 1)
