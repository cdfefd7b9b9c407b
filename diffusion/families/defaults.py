"""A model's default settings; its folder may bring them in ``darkroom.json``."""

import json
from dataclasses import asdict, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from diffusion.errors import InvalidRequestError, ModelLoadError
from diffusion.request import DISTILLED, MAX_CLIP_SKIP, MAX_VARIETY, SAMPLER_NAMES, ImageRequest

DEFAULTS_FILE: Final = "darkroom.json"
DEFAULT_STYLES: Final = ("photograph", "oil painting", "watercolour", "pencil drawing", "pixel art", "anime", "3d render")
DEFAULT_EXAMPLES: Final = ("a red fox in the snow", "a lighthouse at dusk", "a bowl of ramen")
Quality = Literal["draft", "fast", "standard", "fine", "classic"]
QUALITIES: Final = get_args(Quality)
FAST_GUIDANCE_PERIOD: Final = 2
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
PhraseOrNone = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Preset:
    """Settings of `ImageRequest` that trade quality against time."""

    steps: int
    sampler: str
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_period: int = 1


# These suit Stable Diffusion; `classic` is what its first pipelines did.
PRESETS: Final[dict[str, Preset]] = {
    "draft": Preset(10, "unipc"),
    "fine": Preset(50, "dpm++"),
    "classic": Preset(50, "lms"),
}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StudentDefaults:
    """What a student learned: to draw in few steps what its teacher draws with these settings.

    ``states`` are the steps of the teacher at which the student calls its network, from 0, which is noise. Raises `ValueError`
    for others.
    """

    states: tuple[int, ...]
    steps: int
    guidance_scale: float
    sampler: str
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_period: int = 1

    def __post_init__(self) -> None:
        rising = [*self.states, self.steps]
        if rising[0] != 0 or any(later <= earlier for earlier, later in pairwise(rising)):
            raise ValueError(f"its states must rise from 0 and stay below its {self.steps} steps.")

    @property
    def teacher_settings(self) -> dict[str, Any]:
        """The settings of `ImageRequest` with which the teacher drew."""
        return {name: value for name, value in asdict(self).items() if name != "states"}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of `ImageRequest` with which the student draws."""
        return {"guidance_scale": 1.0, **asdict(Preset(len(self.states), DISTILLED))}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Defaults:
    """A model's default settings, styles, examples and description.

    - ``steps``, ``sampler``, ``guidance_interval``: the quality "standard". ``presets`` has the other qualities; `PRESETS` has
      those that it leaves out.
    - ``student``: what the network in the model's folder ``student`` learned, if there is one.
    - ``samplers``: those that suit the model; empty: all of its family.
    - ``variety``: that of `ImageRequest`, for plain pictures in the quality "standard".
    - ``clip_skip``: the layer of the text encoder, counted from the last one, which is 1.
    - ``upscale``: how many times larger than drawn images are posted.
    - ``upscale_start``: the share of the steps that drawing over an image at twice its size skips. A lower share gives more
      details, until the subject is repeated.
    - ``styles``: words that may follow a prompt after a comma.
    - ``set_styles``: the `ImageRequest.styles` of several plain pictures of a prompt that names no style, if they vary.
    - ``about``: a sentence on what the model is for.
    """

    steps: int = 25
    guidance_scale: float = 7.5
    sampler: str = "dpm++"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    presets: dict[Quality, Preset] = field(default_factory=dict)
    samplers: tuple[str, ...] = ()
    variety: Annotated[int, Field(ge=0, le=MAX_VARIETY)] = 0
    clip_skip: Annotated[int, Field(ge=1, le=MAX_CLIP_SKIP)] = 1
    upscale: int = 1
    upscale_start: Annotated[float, Field(ge=0, le=1)] = 0.7
    styles: tuple[Phrase, ...] = DEFAULT_STYLES
    set_styles: Annotated[tuple[PhraseOrNone, ...], Field(max_length=4)] = ()
    examples: Annotated[tuple[Phrase, ...], Field(max_length=5)] = DEFAULT_EXAMPLES
    about: Annotated[str, Field(max_length=300)] = ""
    student: StudentDefaults | None = None

    def of(self, quality: str) -> dict[str, Any]:
        """Return the settings of `ImageRequest` that ``quality`` stands for.

        Unless a model has its own, "fast" is the standard with guidance in every second network call.
        """
        standard = Preset(self.steps, self.sampler, self.guidance_interval)
        fast = replace(standard, guidance_period=FAST_GUIDANCE_PERIOD)
        return asdict((PRESETS | {"standard": standard, "fast": fast, **self.presets})[quality])


def read_defaults(source: Path, family_defaults: Defaults | None = None) -> Defaults:
    """Read the ``darkroom.json`` of a model's folder, or ``name.darkroom.json`` beside a model in one file.

    Missing settings come from ``family_defaults``. Raises `ModelLoadError` for a file that is no JSON, or has unknown names or
    values that no request can have.
    """
    fallback = family_defaults or Defaults()
    path = source.with_suffix(f".{DEFAULTS_FILE}") if source.is_file() else source / DEFAULTS_FILE
    return override(fallback, path.read_bytes(), source=str(source), place=path.name) if path.exists() else fallback


def override(fallback: Defaults, text: str | bytes, *, source: str, place: str) -> Defaults:
    """Return ``fallback`` with the settings of the JSON ``text``, which stands at ``place`` and is for the model ``source``.

    Raises `ModelLoadError` for a text that is no JSON, or has unknown names or values that no request can have.
    """
    try:
        own = TypeAdapter(Defaults).validate_json(text)
        named = json.loads(text)
        defaults = replace(fallback, **{name: getattr(own, name) for name in named})
        defaults = replace(defaults, presets={**fallback.presets, **own.presets})
        used = [defaults.of(quality)["sampler"] for quality in QUALITIES]
        if fallback.samplers and "samplers" not in named:
            defaults = replace(defaults, samplers=tuple(dict.fromkeys((*fallback.samplers, *used))))
        for quality in QUALITIES:
            settings = {"guidance_scale": defaults.guidance_scale, "upscale": defaults.upscale} | defaults.of(quality)
            ImageRequest("a fox", **settings)
        if defaults.student:
            ImageRequest("a fox", **defaults.student.teacher_settings)
            used.append(defaults.student.sampler)
        if own_by_student := [name for name in used if name == DISTILLED]:
            raise InvalidRequestError("sampler", f"sampler: {own_by_student[0]} is the student's own. Name another one.")
        if unknown := [name for name in defaults.samplers if name not in SAMPLER_NAMES]:
            raise InvalidRequestError("samplers", f"samplers: there is no sampler {unknown[0]!r}.")
        if missing := [name for name in used if defaults.samplers and name not in defaults.samplers]:
            raise InvalidRequestError("samplers", f"samplers: {missing[0]}, which a quality uses, is missing.")
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise ModelLoadError(source, f"{place}: {setting + ': ' if setting else ''}{reason}") from error
    except InvalidRequestError as error:
        raise ModelLoadError(source, f"{place}: {error}") from error
    return defaults
