"""A request for images: frozen, and validated where it is made."""

import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from PIL import Image

from diffusion.errors import InvalidRequestError, Problems
from diffusion.text import N_, plural

DISTILLED: Final = "distilled"  # the student of a model draws, by its own few steps
SAMPLER_NAMES: Final = {
    "lms": "LMS",
    "ddim": "DDIM",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm++": "DPM++ 2M Karras",
    "unipc": "UniPC",
    "dpm++_2m_sde": "DPM++ 2M SDE",
    "dpm++_2m_sde_karras": "DPM++ 2M SDE Karras",
    "dpm++_sde": "DPM++ SDE",
    "dpm++_sde_karras": "DPM++ SDE Karras",
    "dpm2": "DPM2",
    "deis": "DEIS",
    "pndm": "PNDM",
    "ddpm": "DDPM",
    "euler_trailing": "Euler trailing",
    "euler_a_trailing": "Euler a trailing",
    "ddim_trailing": "DDIM trailing",
    "lcm": "LCM",
    "tcd": "TCD",
    "flow_euler": "Flow Euler",
    "flow_heun": "Flow Heun",
    DISTILLED: "Distilled",
}
TWO_CALL_SAMPLERS: Final = ("heun", "dpm2", "flow_heun")  # in each step but the last
MAX_CLIP_SKIP: Final = 12
MAX_GUIDANCE_PERIOD: Final = 10
MAX_VARIETY: Final = 100
EXTRAPOLATING_SAMPLERS: Final = ("lms", "pndm")  # by the Adams-Bashforth method of order 4
MAX_SEED: Final = 2**32 - 1
ANIMATION_NAMES: Final = {"webp": "WebP", "gif": "GIF"}
UPSCALES: Final = (1, 2, 4)
MAX_LORAS: Final = 5
MAX_LORA_WEIGHT: Final = 4.0
MAX_EDITED_PIXELS: Final = 1024**2  # as many of a picture as models that edit see
EDITED_GRID: Final = 16  # sides of a picture that is edited are multiples of this
MIN_EDITED_SIDE: Final = 64  # pixels
MIN_BLENDED: Final = 2  # pictures
MAX_BLENDED: Final = 5
MAX_BLEND_WEIGHT: Final = 100
BLENDED_COUNT: Final = N_("A blend takes two to five pictures.")  # MIN_BLENDED to MAX_BLENDED
BLEND_WEIGHT: Final = N_("Each weight must be a number above 0, at most {most}.")
STRETCH: Final = 2  # the longest side of a picture, as a multiple of the largest square's
ABOVE_LIMIT: Final = N_("The {field} may be at most {most} here, not {value}.")
MAX_UPSCALED_SIDE: Final = 2048  # pixels: a larger PNG may exceed the 10 MiB that Discord takes


@dataclass(frozen=True)
class Limits:
    """The largest values that the operator allows in a request.

    ``side`` is that of the largest square. Pictures of another shape may have as many pixels, and a longer side.
    """

    side: int = 1024
    steps: int = 150
    count: int = 4
    frames: int = 24

    @property
    def longest_side(self) -> int:
        """The most pixels of one side."""
        return STRETCH * self.side

    def find_errors(self, values: Mapping[str, Any]) -> Iterator[InvalidRequestError]:
        """Yield an error for each of ``values``, by their names in a request, that exceeds its limit.

        The number of pixels counts unless a side alone is too long. ``frames`` are the ``count`` of a morph.
        """
        longest = STRETCH * self.side
        width, height = values.get("width", 0), values.get("height", 0)
        if max(width, height) <= longest and width * height > self.side**2:
            yield InvalidRequestError(
                "size",
                "A picture may have as many pixels as {most}x{most} here, and {width}x{height} has more."
                " Choose a smaller size.",
                most=self.side,
                width=width,
                height=height,
            )
        maxima = {"width": longest, "height": longest, "steps": self.steps, "count": self.count, "frames": self.frames}
        for field, most in maxima.items():
            if values.get(field, 0) > most:
                yield InvalidRequestError(field, ABOVE_LIMIT, most=most, value=values[field])

    def allow_size(self, width: float, height: float) -> bool:
        """Whether a picture may have this size."""
        return max(width, height) <= self.longest_side and width * height <= self.side**2

    def shrink_size(self, width: float, height: float, grid: int) -> tuple[int, int]:
        """Shrink a size to these limits and to the nearest multiples of ``grid`` within them."""
        longest = STRETCH * self.side
        pixels = self.side**2
        scale = min(1, longest / max(width, height), (pixels / (width * height)) ** 0.5) / grid
        most = max(1, longest // grid)
        columns = min(max(1, round(width * scale)), most)
        rows = min(max(1, round(height * scale)), most)
        while columns * rows * grid**2 > pixels and max(columns, rows) > 1:
            columns, rows = (columns - 1, rows) if columns >= rows else (columns, rows - 1)
        return columns * grid, rows * grid


@dataclass(frozen=True)
class ImageRequest:
    """A request for ``count`` images of ``prompt`` with seeds from ``seed`` on.

    - ``image`` (RGB): the images start from it, noised to the level of step ``start_step`` of ``steps``. Step 0 keeps almost
      nothing of it, ``steps - 1`` almost everything.
    - ``is_edit``: the images start from noise, and the model sees ``image`` while it follows ``prompt`` as an instruction.
    - ``blend``: weights of two to five pictures that ``image`` shows side by side, each as wide as the others. The images start
      from the weighted mean of their latents.
    - ``mask`` (L, as large as ``image``): only its white part is drawn, the rest of ``image`` stays.
    - ``branches``: (step, prompt) in rising order; from each step on, its prompt replaces the one before.
    - ``morph_to``: the images are frames of an animation from ``prompt`` to this prompt, and from the noise of ``seed`` to
      that of ``seed + 1``. With ``image``, which holds two pictures side by side, also from the left to the right one.
      ``animation`` is its file format.
    - ``variants``: these prompts replace ``prompt``. Each gets the same number of images and the same seeds, so that the
      images differ by their words alone.
    - ``styles``: words that follow the prompt after a comma, those of each image in turn; "" adds none.
    - ``guidance_interval``: the range of the steps, as shares, in which guidance is used. Steps outside of it take half the
      time (Kynkäänniemi et al. 2024).
    - ``guidance_period``: guidance is computed in every so many network calls. Between them, what it added to the prediction
      is added again, which takes half the time. See `computes_guidance_every`.
    - ``variety``: how loosely the images follow the prompt in their first steps, from 0 to 100, so that they differ more.
    - ``clip_skip``: which layer of the text encoder is used, counted from the last one, which is 1.
    - ``upscale``: images are drawn at ``width`` x ``height`` and posted this many times as large.
    - ``by_upscaler``: ``image`` is enlarged by ``upscale``, by an upscaler. Nothing is drawn; the prompt says what it shows.
    - ``model``: the name of one of the models that the engine offers. Empty: the one that draws by default.
    - ``loras``: (name, weight) of the LoRAs that change the model for these images, each name once.
    - ``guide_label``, ``label_scale``: the label of the model's classifier that pushes the images, and how hard.

    Raises `InvalidRequestError` for values that no model can use.
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
    styles: tuple[str, ...] = ()
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_period: int = 1
    loras: tuple[tuple[str, float], ...] = ()
    variety: int = 0
    clip_skip: int = 1
    is_edit: bool = False
    by_upscaler: bool = False
    model: str = ""
    blend: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        Problems(list(self._find_errors())).report()

    def _find_errors(self) -> Iterator[InvalidRequestError]:
        if not self.prompt.strip() and self.image is None:
            yield InvalidRequestError("prompt", "The prompt is empty. Describe what the picture should show.")
        if self.is_edit:
            yield from self._find_edit_errors()
        if self.blend:
            yield from self._find_blend_errors()
        for field in ("width", "height"):
            if getattr(self, field) < 1:
                yield InvalidRequestError(field, "The {field} must be at least 1 pixel.")
        if self.steps < 1:
            yield InvalidRequestError("steps", "At least 1 step is needed.")
        elif not 0 <= self.start_step < self.steps:
            yield InvalidRequestError(
                "start_step", "The start step must be from 0 to {most}, less than the number of steps.", most=self.steps - 1
            )
        if not math.isfinite(self.guidance_scale) or not 0 <= self.guidance_scale <= 50:
            yield InvalidRequestError(
                "guidance_scale", "The {field} must be a number from {least} to {most}.", least=0, most=50
            )
        first, end = self.guidance_interval
        if not 0 <= first <= end <= 1:
            yield InvalidRequestError(
                "guidance_interval", "The guidance interval must go from one share of the steps, 0 to 1, to a later one."
            )
        if not 1 <= self.guidance_period <= MAX_GUIDANCE_PERIOD:
            yield InvalidRequestError(
                "guidance_period",
                "The {field} must be a whole number from {least} to {most}.",
                least=1,
                most=MAX_GUIDANCE_PERIOD,
            )
        if not 0 <= self.variety <= MAX_VARIETY:
            yield InvalidRequestError(
                "variety", "The {field} must be a whole number from {least} to {most}.", least=0, most=MAX_VARIETY
            )
        if self.sampler not in SAMPLER_NAMES:
            known = ", ".join(SAMPLER_NAMES)
            yield InvalidRequestError(
                "sampler", "There is no sampler {name}. Choose one of {known}.", name=repr(self.sampler), known=known
            )
        if not 1 <= self.clip_skip <= MAX_CLIP_SKIP:
            yield InvalidRequestError(
                "clip_skip", "The {field} must be a whole number from {least} to {most}.", least=1, most=MAX_CLIP_SKIP
            )
        if not 0 <= self.seed <= MAX_SEED:
            yield InvalidRequestError(
                "seed", "The {field} must be a whole number from {least} to {most}.", least=0, most=MAX_SEED
            )
        if self.count < 1:
            yield InvalidRequestError("count", "Ask for at least 1 picture.")
        if self.upscale not in UPSCALES:
            yield InvalidRequestError("upscale", "Pictures can be upscaled by {known}.", known=", ".join(map(str, UPSCALES)))
        if self.by_upscaler and self.upscale * max(self.width, self.height) > MAX_UPSCALED_SIDE:
            yield InvalidRequestError(
                "upscale",
                "The enlarged picture would be larger than {most}x{most}: its longer side would be {side}."
                " Choose 2x, or a smaller picture.",
                side=self.upscale * max(self.width, self.height),
                most=MAX_UPSCALED_SIDE,
            )
        elif self.upscale > 1 and self.upscale * max(self.width, self.height) > MAX_UPSCALED_SIDE:
            yield InvalidRequestError(
                "upscale",
                plural(
                    "Upscaled pictures may have {most} pixel a side. Choose a smaller size or upscale.",
                    "Upscaled pictures may have {most} pixels a side. Choose a smaller size or upscale.",
                    by="most",
                ),
                most=MAX_UPSCALED_SIDE,
            )
        if self.by_upscaler and (self.image is None or self.count > 1 or self.upscale == 1):
            yield InvalidRequestError(
                "upscale", "An upscaler enlarges one picture. Please choose one, and 2 or 4 times its size."
            )
        if not math.isfinite(self.label_scale) or not 0 <= self.label_scale <= 50:
            yield InvalidRequestError("label_scale", "The {field} must be a number from {least} to {most}.", least=0, most=50)
        if self.loras:
            yield from self._find_lora_errors()
        if self.mask is not None and (self.image is None or self.mask.size != self.image.size):
            yield InvalidRequestError("mask", "The mask must be as large as the picture.")
        if self.branches:
            yield from self._find_branch_errors()
        if self.animation not in ANIMATION_NAMES:
            yield InvalidRequestError("animation", "Animations can be {known}.", known=" / ".join(ANIMATION_NAMES.values()))
        if self.morph_to:
            yield from self._find_morph_errors()
        if self.variants and (self.count % len(self.variants) or self.morph_to):
            yield InvalidRequestError(
                "variants", "Each of several prompts needs the same number of pictures, and several prompts cannot morph."
            )

    def _find_edit_errors(self) -> Iterator[InvalidRequestError]:
        if self.image is None or self.mask is not None or self.start_step:
            yield InvalidRequestError("image", "An edit takes one whole picture. Leave out the mask and the start step.")
        elif not self.prompt.strip():
            yield InvalidRequestError("prompt", "The prompt is empty. Say what to change in the picture.")

    def _find_blend_errors(self) -> Iterator[InvalidRequestError]:
        if not MIN_BLENDED <= len(self.blend) <= MAX_BLENDED:
            yield InvalidRequestError("blend", BLENDED_COUNT)
        elif not are_weights(self.blend):
            yield InvalidRequestError("blend", BLEND_WEIGHT, most=MAX_BLEND_WEIGHT)
        is_whole = self.image is not None and self.image.width % len(self.blend) == 0 and self.mask is None
        if not is_whole or self.is_edit or self.morph_to:
            yield InvalidRequestError("image", "Only whole pictures can be blended. Leave out the mask.")

    def _find_lora_errors(self) -> Iterator[InvalidRequestError]:
        if len(self.loras) > MAX_LORAS:
            many = plural(
                "A picture can have {most} LoRA. Leave some out.", "A picture can have {most} LoRAs. Leave some out.", by="most"
            )
            yield InvalidRequestError("loras", many, most=MAX_LORAS)
        if len({name for name, _ in self.loras}) < len(self.loras):
            yield InvalidRequestError("loras", "A LoRA is named twice. Name each once.")
        for name, weight in self.loras:
            if "/" in name or "\\" in name:
                yield InvalidRequestError("loras", "A LoRA has no folder in its name. Choose one from the list.")
            if not math.isfinite(weight) or abs(weight) > MAX_LORA_WEIGHT:
                yield InvalidRequestError(
                    "loras",
                    "The weight of the LoRA {name} must be a number from {least} to {most}.",
                    name=name,
                    least=f"{-MAX_LORA_WEIGHT:g}",
                    most=f"{MAX_LORA_WEIGHT:g}",
                )

    def _find_branch_errors(self) -> Iterator[InvalidRequestError]:
        before = self.start_step
        for step, prompt in self.branches:
            if not before < step < self.steps:
                yield InvalidRequestError(
                    "branches",
                    "A branch must begin after step {before} and before step {steps}.",
                    before=before,
                    steps=self.steps,
                )
            if not prompt.strip():
                yield InvalidRequestError("branches", "The prompt is empty. Describe what the picture should become.")
            before = step

    def _find_morph_errors(self) -> Iterator[InvalidRequestError]:
        if self.count < 2:
            yield InvalidRequestError("count", "A morph needs at least 2 frames.")
        if self.mask is not None or self.is_edit or self.branches:
            yield InvalidRequestError(
                "morph_to", "A morph goes from one prompt or picture to another. It cannot have a mask, an edit or branches."
            )

    def replace(self, **changes: Any) -> "ImageRequest":
        """Return a copy with ``changes``, validated again."""
        return replace(self, **changes)

    def validate_limits(self, limits: Limits) -> None:
        """Raise `InvalidRequestError` if a value exceeds ``limits``."""
        count = {"frames": self.count} if self.morph_to else {"count": self.count_each}
        values = {"width": self.width, "height": self.height}
        if not self.by_upscaler:
            values |= {"steps": self.steps} | count
        Problems(list(limits.find_errors(values))).report()

    @property
    def source_size(self) -> tuple[int, int] | None:
        """The size in which the model takes `image`, if there is one.

        It is that of the images. A picture to edit keeps its own shape. A morph has two pictures side by side, a blend more.
        """
        if self.image is None:
            return None
        if self.is_edit:
            return edited_size(*self.image.size)
        beside = 2 if self.morph_to else max(1, len(self.blend))
        return beside * self.width, self.height

    @property
    def serving_model(self) -> str:
        """The name of the model that serves this request: any can enlarge, so that none is loaded only for that."""
        return "" if self.by_upscaler else self.model

    @property
    def uses_classifier(self) -> bool:
        """Whether a classifier guides the images."""
        return bool(self.guide_label) and self.label_scale > 0

    @property
    def computes_guidance_every(self) -> int:
        """The distance of two network calls that compute guidance.

        Samplers that extrapolate from many predictions would take what repeats for a trend, so they compute it in each call.
        """
        return 1 if self.sampler in EXTRAPOLATING_SAMPLERS else self.guidance_period

    @property
    def evaluations(self) -> int:
        """The network calls of one image that is drawn: one per step.

        Some samplers take two in each step but the last, and PNDM takes its second one twice.
        """
        steps = self.steps - self.start_step
        if self.sampler in TWO_CALL_SAMPLERS:
            return 2 * steps - 1
        return steps + 1 if self.sampler == "pndm" and steps > 1 else steps

    @property
    def prompts(self) -> tuple[str, ...]:
        """All prompts of the images, whether they come one after another or at once."""
        first = self.variants or (self.prompt,)
        if self.styles:
            first = tuple(in_style(prompt, style) for style in self.styles for prompt in first)
        return (*first, *self.later_prompts)

    @property
    def later_prompts(self) -> tuple[str, ...]:
        """The prompts that follow `prompt`, by a morph or by branches."""
        return (*([self.morph_to] if self.morph_to else ()), *(prompt for _, prompt in self.branches))

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed per image; the largest is followed by 0.

        A morph has one seed for all frames; each variant has the same seeds.
        """
        if self.morph_to:
            return (self.seed,) * self.count
        return tuple((self.seed + index % self.count_each) % (MAX_SEED + 1) for index in range(self.count))

    @property
    def count_each(self) -> int:
        """The number of images of each prompt."""
        return self.count // max(1, len(self.variants))

    def single(self, index: int) -> "ImageRequest":
        """Return the request for image ``index`` alone, or the whole morph."""
        if self.morph_to or (self.count == 1 and not self.variants and not self.styles):
            return self
        prompt = self.variants[index // self.count_each] if self.variants else self.prompt
        if self.styles:
            prompt = in_style(prompt, self.styles[index % len(self.styles)])
        return self.replace(prompt=prompt, variants=(), styles=(), seed=self.seeds[index], count=1)

    @property
    def morph_seed(self) -> int:
        """The seed of the last frame's noise."""
        return (self.seed + 1) % (MAX_SEED + 1)

    def morph_weight(self, index: int) -> float:
        """Return the weight of `morph_to` in image ``index``, from 0 to 1."""
        return index / (self.count - 1) if self.morph_to else 0.0

    def img2img(self, image: Image.Image, start_step: int) -> "ImageRequest":
        """Return a copy that starts from ``image``, without mask, branches, morph, edit and blend."""
        count = 1 if self.morph_to else self.count
        start = {"image": image, "start_step": start_step, "mask": None, "is_edit": False, "blend": ()}
        return self.replace(**start, branches=(), morph_to="", count=count)

    def enlarged_by_upscaler(self, image: Image.Image, factor: int) -> "ImageRequest":
        """Return a copy that only enlarges ``image``, which is the single one of this request."""
        plain = self.replace(mask=None, branches=(), morph_to="", variants=(), count=1, is_edit=False, blend=())
        return plain.replace(image=image, width=image.width, height=image.height, upscale=factor, by_upscaler=True)

    def drawn(self) -> "ImageRequest":
        """Return a copy that draws a picture of the same prompt where this one enlarges a finished one.

        Without a prompt, it starts from that picture.
        """
        if not self.by_upscaler:
            return self
        return self.replace(image=None if self.prompt.strip() else self.image, start_step=0, upscale=1, by_upscaler=False)

    def branch_at(self, step: int, prompt: str) -> "ImageRequest":
        """Return a copy that follows ``prompt`` from ``step`` on, without later branches."""
        kept = tuple(branch for branch in self.branches if branch[0] < step)
        return self.replace(branches=(*kept, (step, prompt)))


def in_style(prompt: str, style: str) -> str:
    """Return ``prompt`` with the words of ``style``, if there are any."""
    return f"{prompt}, {style}" if style else prompt


def random_seed() -> int:
    """Return a random seed."""
    return random.randrange(MAX_SEED + 1)


def edited_size(width: int, height: int) -> tuple[int, int]:
    """Return the size in which models see a picture of ``width`` x ``height`` that they edit.

    Its area is at most `MAX_EDITED_PIXELS`, and its sides are multiples of `EDITED_GRID`.
    """
    scale = min(max(1, MIN_EDITED_SIDE / min(width, height)), (MAX_EDITED_PIXELS / (width * height)) ** 0.5)
    columns, rows = (max(1, int(side * scale) // EDITED_GRID) for side in (width, height))
    return columns * EDITED_GRID, rows * EDITED_GRID


def are_weights(numbers: Iterable[float]) -> bool:
    """Return whether pictures can be blended by ``numbers``."""
    return all(math.isfinite(number) and 0 < number <= MAX_BLEND_WEIGHT for number in numbers)


def validate_most(field: str, value: int, most: int) -> None:
    """Raise `InvalidRequestError` if ``value`` exceeds the limit ``most``."""
    if value > most:
        raise InvalidRequestError(field, ABOVE_LIMIT, most=most, value=value)


def start_step_for(similarity: float, steps: int) -> int:
    """Return the start step that skips a share ``similarity`` in [0, 1] of ``steps``."""
    if not math.isfinite(similarity) or not 0 <= similarity <= 1:
        raise InvalidRequestError("similarity", "The {field} must be a number from {least} to {most}.", least=0, most=1)
    return min(round(similarity * steps), steps - 1)
