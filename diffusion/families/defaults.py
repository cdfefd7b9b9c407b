"""What suits a model where a member leaves it open; a model folder may say so in its ``darkroom.json``."""

from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from diffusion.errors import InvalidRequestError, ModelLoadError
from diffusion.request import ImageRequest

FILE: Final = "darkroom.json"
STYLES: Final = ("photograph", "oil painting", "watercolour", "pencil drawing", "pixel art", "anime", "3d render")
EXAMPLES: Final = ("a red fox in the snow", "a lighthouse at dusk", "a bowl of ramen")
Quality = Literal["draft", "standard", "fine", "classic"]
QUALITIES: Final = get_args(Quality)
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Preset:
    """How a picture is developed: how carefully, and so how long; the names are those of `ImageRequest`."""

    steps: int
    sampler: str
    guidance_interval: tuple[float, float] = (0.0, 1.0)


# What is known to suit Stable Diffusion; `classic` is what its first pipelines did.
PRESETS: Final[dict[str, Preset]] = {
    "draft": Preset(10, "unipc"),
    "fine": Preset(50, "dpm++"),
    "classic": Preset(50, "lms"),
}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Defaults:
    """The settings of a request that names none, and what members are told and offered.

    ``steps``, ``sampler`` and ``guidance_interval`` are the quality `standard`, ``presets`` the others: what it leaves out is
    as in `PRESETS`.

    ``upscale`` is how many times larger than drawn pictures are posted. ``upscale_start`` is the share of the steps that is
    skipped where a picture is drawn over at twice its size: less gives more details, until the subject is repeated. ``styles``
    is what may follow a prompt after a comma, ``about`` a sentence on what the model is for, where that is not everything.
    """

    steps: int = 25
    guidance_scale: float = 7.5
    sampler: str = "dpm++"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    presets: dict[Quality, Preset] = field(default_factory=dict)
    upscale: int = 1
    upscale_start: Annotated[float, Field(ge=0, le=1)] = 0.7
    styles: tuple[Phrase, ...] = STYLES
    examples: Annotated[tuple[Phrase, ...], Field(max_length=5)] = EXAMPLES
    about: Annotated[str, Field(max_length=300)] = ""

    def of(self, quality: str) -> dict[str, Any]:
        """Give the settings of `ImageRequest` that ``quality`` stands for."""
        standard = Preset(self.steps, self.sampler, self.guidance_interval)
        return asdict((PRESETS | {"standard": standard, **self.presets})[quality])


def read_defaults(folder: Path) -> Defaults:
    """Read the ``darkroom.json`` of a model's folder; without one, generic defaults.

    Raises `ModelLoadError` for a file that is no JSON, has unknown names or values that no request could have.
    """
    path = folder / FILE
    if not path.exists():
        return Defaults()
    try:
        defaults = TypeAdapter(Defaults).validate_json(path.read_bytes())
        for quality in QUALITIES:
            settings = {"guidance_scale": defaults.guidance_scale, "upscale": defaults.upscale} | defaults.of(quality)
            ImageRequest("a fox", **settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ModelLoadError(str(folder), f"{FILE}: {place + ': ' if place else ''}{first['msg']}") from error
    except InvalidRequestError as error:
        raise ModelLoadError(str(folder), f"{FILE}: {error}") from error
    return defaults
