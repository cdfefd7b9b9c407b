"""What frames say: requests, progress, results, errors and what a model takes. All is checked where it arrives."""

from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any, Final, get_type_hints

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from tokenizers import Tokenizer

from diffusion import errors
from diffusion.cluster.framing import BrokenFrameError, Frame, to_file, to_image
from diffusion.errors import DarkroomError, GenerationError, InvalidRequestError
from diffusion.families.defaults import Defaults
from diffusion.families.spec import ModelSpec
from diffusion.images.io import fit
from diffusion.images.masks import fit_mask
from diffusion.request import ImageRequest
from diffusion.result import ImageResult, Progress
from diffusion.serving.latency import Shape
from diffusion.text import Plural, Text

PICTURES: Final = {"image": "RGB", "mask": "L"}  # the fields of a request that travel as files, with their colour modes
KEY_HEADER: Final = "x-session-id"  # what Serve shows its router of a request
_ASKED: Final = ConfigDict(extra="forbid", frozen=True)  # what a replica does not know of it cannot be made
_HEARD: Final = ConfigDict(extra="ignore", frozen=True)  # what newer replicas tell besides, an older bot can do without
_TYPES: Final = get_type_hints(ImageRequest)
_FIELDS: Final[dict[str, Any]] = {
    field.name: (_TYPES[field.name], ... if field.default is MISSING else field.default)
    for field in fields(ImageRequest)
    if field.name not in PICTURES
}
_Settings: Final = create_model("_Settings", __config__=_ASKED, **_FIELDS)


class _Question(BaseModel):
    """A request for pictures; ``pictures`` names what its files are."""

    model_config = _ASKED
    settings: dict[str, Any]
    pictures: list[str]
    owner: int | str | None


class Told(BaseModel):
    """How far a request is on its replica.

    ``changed`` are the places of those of its ``previews`` that came as files, ``seconds`` how long it will still take, and
    ``steps`` the rows and seconds of what the replica has stepped since it told anybody.
    """

    model_config = _HEARD
    place: int | None
    completed: int
    total: int
    previews: int
    changed: list[int]
    seconds: float | None
    steps: list[tuple[int, float]]

    def progress(self, before: Sequence[Image.Image], files: Sequence[bytes]) -> Progress:
        """Give it as the bot knows it, where ``before`` are the previews until now."""
        previews = dict(enumerate(before)) | dict(zip(self.changed, map(to_image, files), strict=True))
        return Progress(self.place, self.completed, self.total, tuple(previews[index] for index in range(self.previews)))


class _Done(BaseModel):
    """Pictures, with as many films; the pictures come first among the files."""

    model_config = _HEARD
    seconds: float
    model: str
    pictures: int


class Refused(BaseModel):
    """An error of the name ``kind``."""

    model_config = _HEARD
    kind: str
    template: str | Plural
    values: dict[str, str | int | float]
    field: str | None = None

    def error(self) -> DarkroomError:
        """Make the error again; of a kind that is not known, it is that the engine broke off."""
        kind = getattr(errors, self.kind, None)
        known = kind if isinstance(kind, type) and issubclass(kind, DarkroomError) else GenerationError
        error = known.__new__(known)
        Text.__init__(error, self.template, **self.values)
        if isinstance(error, InvalidRequestError):
            error.field = self.field or "request"
        return error


class _Spec(BaseModel):
    """What a `ModelSpec` tells; the tokenizer comes as a file."""

    model_config = _HEARD
    name: str
    defaults: Defaults
    guide_labels: tuple[str, ...]
    latent_factor: int
    latent_channels: int
    sample_side: int
    device: str
    dtype: str
    max_length: int
    checks: bool


def question(request: ImageRequest, owner: int | str | None) -> Frame:
    """Word ``request`` of ``owner``, its pictures as the model will see them. Call it in a thread."""
    settings = {field.name: getattr(request, field.name) for field in fields(request) if field.name not in PICTURES}
    size = request.width, request.height
    pictures = {
        "image": request.image and fit(request.image, *size),
        "mask": request.mask and fit_mask(request.mask, *size),
    }
    given = {name: picture for name, picture in pictures.items() if picture}
    return {"settings": settings, "pictures": list(given), "owner": owner}, [to_file(picture) for picture in given.values()]


def read_question(frame: Frame) -> tuple[ImageRequest, int | str | None]:
    """Read what is asked for, and for whom; raises `InvalidRequestError` or `InvalidImageError`. Call it in a thread."""
    head, files = frame
    try:
        asked = _Question.model_validate(head)
        settings = dict(_Settings.model_validate(asked.settings))
        named = dict(zip(asked.pictures, files, strict=True))
        if len(named) < len(files):
            raise ValueError("a picture is there twice")
        pictures: dict[str, Any] = {name: to_image(file, PICTURES[name]) for name, file in named.items()}
    except (ValidationError, ValueError, KeyError) as error:
        raise InvalidRequestError(
            "request", "I was updated meanwhile and cannot read this any more. Please ask again."
        ) from error
    return ImageRequest(**settings, **pictures), asked.owner


def told(progress: Progress, before: Sequence[Image.Image], seconds: float | None, steps: Sequence[tuple[int, float]]) -> Frame:
    """Word ``progress`` where the previews ``before`` were told already. Call it in a thread."""
    previews = progress.previews
    changed = [index for index, preview in enumerate(previews) if index >= len(before) or before[index] is not preview]
    head = {
        **{"place": progress.place, "completed": progress.completed, "total": progress.total},
        **{"previews": len(previews), "changed": changed, "seconds": seconds, "steps": list(steps)},
    }
    return {"told": head}, [to_file(previews[index]) for index in changed]


def done(result: ImageResult) -> Frame:
    """Word ``result``. Call it in a thread."""
    head = {"seconds": result.seconds, "model": result.model, "pictures": len(result.images)}
    return {"done": head}, [to_file(image) for image in (*result.images, *result.timelapses)]


def read_done(head: dict[str, Any], files: Sequence[bytes], request: ImageRequest, check: Any) -> ImageResult:
    """Read the pictures of ``request``, which ``check`` checks; raises `BrokenFrameError`. Call it in a thread."""
    try:
        said = _Done.model_validate(head)
    except ValidationError as error:
        raise BrokenFrameError("This is no result.") from error
    images = tuple(map(to_image, files))
    pictures, timelapses = images[: said.pictures], images[said.pictures :]
    return ImageResult(request, pictures, request.seeds, said.seconds, said.model, timelapses, check)


def refused(error: DarkroomError) -> Frame:
    """Word ``error``."""
    values = {name: value if isinstance(value, (int, float)) else str(value) for name, value in error.values.items()}
    field = error.field if isinstance(error, InvalidRequestError) else None
    template = asdict(error.template) if isinstance(error.template, Plural) else error.template
    head = {"kind": type(error).__name__, "template": template, "values": values, "field": field}
    return {"refused": head}, []


def spec(model: ModelSpec, checks: bool) -> Frame:
    """Word what ``model`` takes, and whether there is something that ``checks`` its pictures."""
    head = {
        "name": model.name,
        "defaults": asdict(model.defaults),
        "guide_labels": list(model.guide_labels),
        **{name: getattr(model, name) for name in ("latent_factor", "latent_channels", "sample_side")},
        **{"device": str(model.device), "dtype": str(model.dtype)},
        **{"max_length": model.tokenizer.model_max_length, "checks": checks},
    }
    return {"spec": head}, [model.tokenizer.backend_tokenizer.to_str().encode()]


class RemoteModel(ModelSpec):
    """What the model that is served at ``url`` takes."""

    def __init__(self, url: str, frame: Frame) -> None:
        try:
            said = _Spec.model_validate(frame[0]["spec"])
            tokenizer = Tokenizer.from_str(frame[1][0].decode())
        except Exception as error:  # the tokenizers' library raises nothing narrower
            raise BrokenFrameError("This is not what a model takes.") from error
        self.url, self.checks = url, said.checks
        self.name, self.defaults, self.guide_labels = said.name, said.defaults, said.guide_labels
        self.latent_factor, self.latent_channels, self.sample_side = said.latent_factor, said.latent_channels, said.sample_side
        self.device, self.dtype = said.device, said.dtype
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer, self._max_length = tokenizer, said.max_length

    @property
    def max_tokens(self) -> int:
        """How many tokens of a prompt are read, beside its start and end marks."""
        return self._max_length - 2

    def count_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` without its start and end marks."""
        return len(self.tokenizer.encode(text).ids) - 2


def key_of(shape: Shape, rows: int) -> str:
    """Word what a router is to know of a request: the shape of its latents and how many rows of network calls it takes."""
    return f"{'x'.join(map(str, shape))} {rows}"


def read_key(text: str) -> tuple[Shape, int]:
    """Read what `key_of` gave; what is something else has no shape and takes nothing."""
    shape, _, rows = text.partition(" ")
    try:
        return tuple(map(int, shape.split("x"))), int(rows)
    except ValueError:
        return (), 0
