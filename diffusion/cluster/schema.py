"""The messages between bot and replicas; the receiver validates each of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from types import MappingProxyType
from typing import Any, Final, get_type_hints

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from tokenizers import Tokenizer

from diffusion import errors
from diffusion.cluster.framing import BrokenFrameError, Frame, decode_image, encode_image
from diffusion.errors import DarkroomError, GenerationError, InvalidImageError, InvalidRequestError
from diffusion.families.defaults import Defaults
from diffusion.families.spec import ModelSpec
from diffusion.images.source import fit_source
from diffusion.lora.catalogue import Lora
from diffusion.prompts.chunks import Chunker
from diffusion.request import MAX_BLENDED, MAX_EDITED_PIXELS, ImageRequest, Limits
from diffusion.result import ImageResult, Progress
from diffusion.serving.latency import Shape, Step
from diffusion.text import Plural, Text

IMAGE_MODES: Final = {"image": "RGB", "mask": "L"}  # fields of a request that travel as files: their colour modes
MAX_TEXT: Final = 4000  # characters of each text in a request: as many as Discord takes anywhere
_STRICT: Final = ConfigDict(
    extra="forbid", frozen=True, str_max_length=MAX_TEXT
)  # a replica cannot follow a setting that it does not know
_LENIENT: Final = ConfigDict(extra="ignore", frozen=True)
_TYPES: Final = get_type_hints(ImageRequest)
_FIELDS: Final[dict[str, Any]] = {
    field.name: (_TYPES[field.name], ... if field.default is MISSING else field.default)
    for field in fields(ImageRequest)
    if field.name not in IMAGE_MODES
}
_Settings: Final = create_model("_Settings", __config__=_STRICT, **_FIELDS)


class _RequestMessage(BaseModel):
    """A request for images; ``pictures`` names its files in their order.

    The images of a request that is ``alone`` share network calls with no other request.
    """

    model_config = _STRICT
    settings: dict[str, Any]
    pictures: list[str]
    owner: int | str | None
    alone: bool = False


class ProgressMessage(BaseModel):
    """The progress of a request on its replica.

    ``changed`` holds the indices of the ``previews`` that come as files. ``seconds`` is the estimated time left. ``steps``
    holds the rows and seconds of each step since the replica's last report to anyone, and ``shapes`` the shapes of their
    latents.
    """

    model_config = _LENIENT
    place: int | None
    completed: int
    total: int
    previews: int
    changed: list[int]
    seconds: float | None
    steps: list[tuple[int, float]]
    shapes: list[Shape] = Field(default_factory=list)

    def measured_steps(self) -> Iterator[Step]:
        """Yield the steps; the shape is empty if the replica does not report it."""
        for index, (rows, seconds) in enumerate(self.steps):
            yield Step(self.shapes[index] if index < len(self.shapes) else (), rows, seconds)

    def progress(self, before: Sequence[Image.Image], files: Sequence[bytes]) -> Progress:
        """Return it as `Progress`; raises `BrokenFrameError`.

        Unchanged previews come from ``before``, those of the last message.
        """
        try:
            previews = dict(enumerate(before)) | dict(zip(self.changed, map(decode_image, files), strict=True))
            shown = tuple(previews[index] for index in range(self.previews))
        except (InvalidImageError, ValueError, KeyError) as error:
            raise BrokenFrameError("The replica sent invalid previews.") from error
        return Progress(self.place, self.completed, self.total, shown)


class _ResultMessage(BaseModel):
    """A result. Its files are the images, then as many timelapses."""

    model_config = _LENIENT
    seconds: float
    model: str
    pictures: int


def parse_error(head: Any) -> DarkroomError:
    """Return the error that a replica sent; raises `BrokenFrameError`."""
    try:
        return ErrorMessage.model_validate(head).error()
    except ValidationError as error:
        raise BrokenFrameError("The replica sent an invalid error.") from error


def parse_progress(head: Any) -> "ProgressMessage":
    """Return the progress that a replica sent; raises `BrokenFrameError`."""
    try:
        return ProgressMessage.model_validate(head)
    except ValidationError as error:
        raise BrokenFrameError("The replica sent invalid progress.") from error


class ErrorMessage(BaseModel):
    """An error; ``kind`` is the name of its class."""

    model_config = _LENIENT
    kind: str
    template: str | Plural
    values: dict[str, str | int | float]
    field: str | None = None

    def error(self) -> DarkroomError:
        """Rebuild the error.

        It is a `GenerationError` if this version does not know the class.
        """
        kind = getattr(errors, self.kind, None)
        known = kind if isinstance(kind, type) and issubclass(kind, DarkroomError) else GenerationError
        error = known.__new__(known)
        Text.__init__(error, self.template, **self.values)
        if isinstance(error, InvalidRequestError):
            error.field = self.field or "request"
        return error


class _LoraMessage(BaseModel):
    """A LoRA that the replica offers; ``problem`` is the template of the sentence that refuses it."""

    model_config = _LENIENT
    name: str
    triggers: tuple[str, ...] = ()
    problem: str = ""
    values: dict[str, str | int | float] = Field(default_factory=dict)

    def lora(self) -> Lora:
        """Return the LoRA."""
        return Lora(self.name, self.triggers, Text(self.problem, **self.values) if self.problem else None)


class _SpecMessage(BaseModel):
    """The fields of a `ModelSpec`; the tokenizers come as files."""

    model_config = _LENIENT
    name: str
    defaults: Defaults
    samplers: dict[str, int]
    guide_labels: tuple[str, ...]
    grid: int
    guidance_above: float
    reads_negative_prompt: bool = True
    latent_factor: int
    latent_channels: int
    sample_side: int
    device: str
    dtype: str
    max_tokens: int
    max_steps: int
    max_clip_skip: int = 1
    chunk_tokens: int = 0
    embeddings: dict[str, int] = Field(default_factory=dict)
    shape_grid: int = 0
    edits: bool = False
    upscales: tuple[int, ...] = ()
    upscaler_tile: int = 0
    can_screen: bool
    loras: tuple["_LoraMessage", ...] = ()


def encode_request(request: ImageRequest, owner: int | str | None) -> Frame:
    """Encode ``request`` of ``owner``. Call it in a thread.

    Its images are fitted to the size in which the model takes them.
    """
    request = fit_source(request)
    elsewhere = (*IMAGE_MODES, "model")  # the address names the model
    settings = {field.name: getattr(request, field.name) for field in fields(request) if field.name not in elsewhere}
    pictures = {"image": request.image, "mask": request.mask}
    given = {name: picture for name, picture in pictures.items() if picture}
    head = {"settings": settings, "pictures": list(given), "owner": owner}
    return head, [encode_image(picture) for picture in given.values()]


def decode_request(frame: Frame, limits: Limits) -> tuple[ImageRequest, int | str | None, bool]:
    """Decode a request, its owner, and whether it is alone. Call it in a thread.

    Its pictures have at most as many pixels as ``limits``, a blend or an edit allow. Raises `InvalidRequestError` or
    `InvalidImageError`.
    """
    head, files = frame
    try:
        message = _RequestMessage.model_validate(head)
        settings = dict(_Settings.model_validate(message.settings))
        named = dict(zip(message.pictures, files, strict=True))
        if len(named) < len(files):
            raise ValueError("a picture is listed twice")
        beside = max(1, min(MAX_BLENDED, len(settings.get("blend", ()))))
        most = max(limits.side**2 * beside, MAX_EDITED_PIXELS if settings.get("is_edit") else 0)
        pictures: dict[str, Any] = {name: decode_image(file, IMAGE_MODES[name], most) for name, file in named.items()}
    except (ValidationError, ValueError, KeyError) as error:
        raise InvalidRequestError("request", "I was updated in the meantime. Please send your request again.") from error
    return ImageRequest(**settings, **pictures), message.owner, message.alone


def encode_progress(progress: Progress, before: Sequence[Image.Image], seconds: float | None, steps: Sequence[Step]) -> Frame:
    """Encode ``progress`` of a request. Call it in a thread.

    ``before`` holds the previews sent last; only changed ones are sent again.
    """
    previews = progress.previews
    changed = [index for index, preview in enumerate(previews) if index >= len(before) or before[index] is not preview]
    head = {
        "place": progress.place,
        "completed": progress.completed,
        "total": progress.total,
        "previews": len(previews),
        "changed": changed,
        "seconds": seconds,
        "steps": [(step.rows, step.seconds) for step in steps],
        "shapes": [step.shape for step in steps],
    }
    return {"progress": head}, [encode_image(previews[index]) for index in changed]


def encode_result(result: ImageResult) -> Frame:
    """Encode ``result``. Call it in a thread."""
    head = {"seconds": result.seconds, "model": result.model, "pictures": len(result.images)}
    return {"result": head}, [encode_image(image) for image in (*result.images, *result.timelapses)]


def decode_result(head: dict[str, Any], files: Sequence[bytes], request: ImageRequest, check: Any) -> ImageResult:
    """Decode the result of ``request``. Call it in a thread.

    ``check`` screens its images. Raises `BrokenFrameError`.
    """
    try:
        message = _ResultMessage.model_validate(head)
        images = tuple(map(decode_image, files))
    except (ValidationError, InvalidImageError) as error:
        raise BrokenFrameError("The replica sent an invalid result.") from error
    if not message.pictures == request.count <= len(images):
        raise BrokenFrameError("The replica sent fewer pictures than the request asks for.")
    pictures = images[: message.pictures]
    timelapses = images[message.pictures :]
    return ImageResult(request, pictures, request.seeds, message.seconds, message.model, timelapses, check)


def encode_error(error: DarkroomError) -> Frame:
    """Encode ``error``."""
    values = {name: value if isinstance(value, (int, float)) else str(value) for name, value in error.values.items()}
    field = error.field if isinstance(error, InvalidRequestError) else None
    template = asdict(error.template) if isinstance(error.template, Plural) else error.template
    head = {"kind": type(error).__name__, "template": template, "values": values, "field": field}
    return {"error": head}, []


def encode_spec(model: ModelSpec, can_screen: bool) -> Frame:
    """Encode the spec of ``model``, and whether the replica can screen its images."""
    head = {
        "name": model.name,
        "defaults": asdict(model.defaults),
        "samplers": dict(model.samplers),
        "guide_labels": list(model.guide_labels),
        "grid": model.grid,
        "guidance_above": model.guidance_above,
        "reads_negative_prompt": model.reads_negative_prompt,
        "latent_factor": model.latent_factor,
        "latent_channels": model.latent_channels,
        "sample_side": model.sample_side,
        "max_tokens": model.max_tokens,
        "max_steps": model.max_steps,
        "max_clip_skip": model.max_clip_skip,
        "chunk_tokens": model.chunk_tokens,
        "embeddings": dict(model.embeddings),
        "shape_grid": model.shape_grid,
        "edits": model.edits,
        "upscales": list(model.upscales),
        "upscaler_tile": model.upscaler_tile,
        "device": str(model.device),
        "dtype": str(model.dtype),
        "can_screen": can_screen,
        "loras": [_encode_lora(lora) for lora in model.loras.values()],
    }
    return {"spec": head}, [tokenizer.backend_tokenizer.to_str().encode() for tokenizer in model.tokenizers]


def _encode_lora(lora: Lora) -> dict[str, Any]:
    problem = lora.problem or Text()
    return {"name": lora.name, "triggers": lora.triggers, "problem": problem.template, "values": problem.values}


class RemoteModel(ModelSpec):
    """The spec of the model that replicas serve at ``url``."""

    def __init__(self, url: str, frame: Frame, headers: Mapping[str, str] | None = None) -> None:
        try:
            message = _SpecMessage.model_validate(frame[0]["spec"])
            tokenizers = tuple(Tokenizer.from_str(file.decode()) for file in frame[1])
            if not tokenizers:
                raise ValueError("there is no tokenizer")
        except Exception as error:  # tokenizers raises bare exceptions
            raise BrokenFrameError("The replica sent an invalid model spec.") from error
        self.url = url
        self.headers = dict(headers or {})  # of each request to its replicas
        self.can_screen = message.can_screen
        self.name = message.name
        self.defaults = message.defaults
        self.guide_labels = message.guide_labels
        self.samplers = message.samplers
        self.grid = message.grid
        self.guidance_above = message.guidance_above
        self.reads_negative_prompt = message.reads_negative_prompt
        self.latent_factor = message.latent_factor
        self.latent_channels = message.latent_channels
        self.sample_side = message.sample_side
        self.device = message.device
        self.dtype = message.dtype
        for tokenizer in tokenizers:
            tokenizer.no_padding()
            tokenizer.no_truncation()
        self.tokenizers = tokenizers
        self.shape_grid = message.shape_grid
        self.edits = message.edits
        self.upscales = message.upscales
        self.upscaler_tile = message.upscaler_tile
        self.max_tokens = message.max_tokens
        self.max_steps = message.max_steps
        self.max_clip_skip = message.max_clip_skip
        self.chunk_tokens = message.chunk_tokens
        self.embeddings = message.embeddings
        self._counts = [self._counter(tokenizer) for tokenizer in tokenizers]
        self._loras = MappingProxyType({lora.name: lora.lora() for lora in message.loras})

    @property
    def loras(self) -> Mapping[str, Lora]:
        """The LoRAs that the replica offered when the bot asked for its model."""
        return self._loras

    def count_tokens(self, text: str) -> int:
        """Count the tokens of ``text``, without start and end tokens."""
        return max(count(text) for count in self._counts)

    def _counter(self, tokenizer: Tokenizer) -> Callable[[str], int]:
        """Return the function that counts the tokens of a text by ``tokenizer``."""

        def tokenize(texts: list[str]) -> list[list[int]]:
            return [each.ids for each in tokenizer.encode_batch(texts, add_special_tokens=False)]

        return (
            Chunker(tokenize, self.chunk_tokens, self.embeddings).count
            if self.chunk_tokens
            else lambda text: len(tokenize([text])[0])
        )
