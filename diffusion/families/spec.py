"""The requests that a model accepts, described without its networks and torch."""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from diffusion.errors import InvalidRequestError, Problems
from diffusion.families.student import StudentRequests
from diffusion.lora.catalogue import REFRESH_SECONDS, Lora
from diffusion.prompts.chunks import unknown_embedding
from diffusion.prompts.syntax import BREAK
from diffusion.request import DISTILLED, SAMPLER_NAMES, ImageRequest, validate_most
from diffusion.text import N_, plural

LORAS_NAMED: Final = 10  # of those that a sentence lists
NO_EDITS: Final = N_("This model cannot edit pictures by words. Use a model that edits, such as FLUX.2 klein.")
EVEN_SAMPLERS: Final = ("ddim", "flow_euler")


@dataclass(frozen=True)
class Origin:
    """What a model was loaded from: a folder, hub id or file, and the autoencoder of a file without one."""

    source: str
    vae: str | None = None


class ModelSpec(StudentRequests):
    """The sizes, prompts, samplers and labels that a model accepts, and its defaults.

    All methods are safe in any thread. Sides are multiples of ``grid`` pixels, by default ``sample_side``. A latent cell of
    ``latent_channels`` values covers ``latent_factor`` x ``latent_factor`` pixels. Guidance needs a second row in each network
    call from scales above ``guidance_above`` on; without ``reads_negative_prompt`` it never does. A picture has at most
    ``max_steps`` steps; ``samplers`` says how many with each sampler. ``guide_labels`` are the labels of classifier guidance.
    The model computes on ``device`` in ``dtype``. `count_tokens` uses the ``tokenizers``. The text encoder can leave out its
    last layers, up to ``max_clip_skip`` from the end. Where prompts have weights, they are read in chunks of ``chunk_tokens``;
    0 stands for plain text. ``embeddings`` are the numbers of tokens by the names that stand for them in prompts. Where
    ``shape_grid`` is not 0, oblong pictures of training had about as many pixels as the square, and sides of its multiples.
    With ``edits``, the model sees the picture that it edits, or a part of which it redraws.
    ``upscales`` are the factors by which an upscaler enlarges pictures, in tiles of ``upscaler_tile`` pixels a side.
    ``revision`` grows when its networks are called in another way from then on, which may round otherwise.
    """

    name: str
    guide_labels: tuple[str, ...]
    grid: int
    latent_factor: int
    latent_channels: int
    guidance_above: float
    reads_negative_prompt: bool = True
    max_tokens: int
    max_steps: int = 1000
    max_clip_skip: int = 1
    chunk_tokens: int = 0
    embeddings: Mapping[str, int] = MappingProxyType({})
    tokenizers: tuple[Any, ...]
    shape_grid: int = 0
    edits: bool = False
    upscales: tuple[int, ...] = ()
    upscaler_tile: int = 0
    revision: int = 0
    device: Any
    dtype: Any

    @property
    def loras(self) -> Mapping[str, Lora]:
        """The LoRAs that members can name, also those that this model cannot use."""
        return MappingProxyType({})

    def refresh_loras(self, seconds: float = REFRESH_SECONDS) -> None:
        """Look for new LoRAs, unless that was done ``seconds`` ago. Call it in a thread."""

    def count_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` without its start and end marks."""
        raise NotImplementedError

    @property
    def even_sampler(self) -> str:
        """A sampler with evenly spaced steps, where a share of them means the same with any number."""
        return next((name for name in EVEN_SAMPLERS if name in self.samplers), self.defaults.sampler)

    def request(self, prompt: str, *, most_steps: int = sys.maxsize, **settings: Any) -> ImageRequest:
        """Build a request for ``prompt``.

        Settings that are missing or None take this model's defaults, of which the steps are lowered to ``most_steps``. If
        nothing tells the student from its teacher, the student draws, also in place of a quality "fast" that is slower. The
        default of variety is for plain pictures of the quality "standard".
        """
        given = {name: value for name, value in settings.items() if value is not None}
        own: dict[str, Any] = {
            "width": self.sample_side,
            "height": self.sample_side,
            "upscale": self.defaults.upscale,
            "clip_skip": self.defaults.clip_skip,
            "variety": self.defaults.variety if given.get("sampler") == DISTILLED else 0,
        }
        student = self.student_defaults
        drawn_by = student.settings if student and given.get("sampler") == DISTILLED else self.teacher_settings
        lowered = drawn_by | {"steps": min(drawn_by["steps"], most_steps)}
        request = ImageRequest(prompt, **own | lowered | given)
        standard = self.standard_settings
        named = {name: value for name, value in given.items() if name in standard}
        is_named = named and not (self.draws_fast and named == self.settings_of("fast", most_steps))
        is_open = not is_named and standard["steps"] <= most_steps
        if not is_open or not self.is_plain(request):
            return request
        return request.replace(**standard, variety=given.get("variety", self.defaults.variety))

    def in_set_styles(self, request: ImageRequest) -> ImageRequest:
        """Return ``request`` with the styles of a set, if it is for several plain pictures, of some variety and no style."""
        styles = self.defaults.set_styles
        is_set = request.count > 1 and request.variety > 0 and not request.variants and self.is_plain(request)
        if not styles or not is_set or any(_names(request.prompt, style) for style in self.defaults.styles):
            return request.replace(styles=()) if request.styles else request
        return request.replace(styles=styles)

    def validate(self, request: ImageRequest) -> None:
        """Raise `InvalidRequestError` for values that this model does not accept."""
        if request.by_upscaler:
            self.validate_upscale(request.upscale)
            return
        problems = Problems()
        for field in ("width", "height"):
            with problems.collect():
                self._validate_side(field, getattr(request, field))
        with problems.collect():
            self.validate_sampler(request.sampler)
        with problems.collect():
            if request.sampler != DISTILLED:
                validate_most("steps", request.steps, self.samplers.get(request.sampler, self.max_steps))
            self.validate_student(request)
        for prompt in request.prompts:
            with problems.collect():
                self._validate_text("prompt", prompt)
        with problems.collect():
            self._validate_text("negative_prompt", request.negative_prompt)
            if request.negative_prompt and not self.reads_negative_prompt:
                raise InvalidRequestError("negative_prompt", "This model reads no negative prompt. Leave it out.")
        with problems.collect():
            if request.is_edit and not self.edits:
                raise InvalidRequestError("image", NO_EDITS)
        with problems.collect():
            self._validate_label(request.guide_label)
        for name, _ in request.loras:
            with problems.collect():
                self._validate_lora(name)
        with problems.collect():
            validate_most("clip_skip", request.clip_skip, self.max_clip_skip)
        problems.report()

    def validate_sampler(self, sampler: str) -> None:
        """Raise `InvalidRequestError` if ``sampler`` is none of this model's."""
        if sampler not in self.samplers:
            raise InvalidRequestError(
                "sampler",
                "There is no sampler {name}. Choose one of {known}.",
                name=SAMPLER_NAMES.get(sampler, repr(sampler)),
                known=", ".join(SAMPLER_NAMES[name] for name in self.samplers),
            )

    def validate_upscale(self, factor: int) -> None:
        """Raise `InvalidRequestError` if no upscaler enlarges by ``factor``."""
        if not self.upscales:
            raise InvalidRequestError(
                "upscale", "There is no upscaler here. The button “Upscale” below my pictures draws them at twice the size."
            )
        if factor not in self.upscales:
            known = ", ".join(f"{each}x" for each in self.upscales)
            raise InvalidRequestError("upscale", "The upscaler here can enlarge by {known}. Please choose that.", known=known)

    def _validate_side(self, field: str, side: int) -> None:
        if side % self.grid:
            below = side // self.grid * self.grid
            raise InvalidRequestError(
                field,
                "The {field} must be a multiple of {factor}: try {less} or {more}.",
                factor=self.grid,
                less=max(below, self.grid),
                more=below + self.grid,
            )

    def _validate_text(self, field: str, text: str) -> None:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidRequestError(field, "The {field} contains a broken character. Please type it again.")
        if self.chunk_tokens and (name := unknown_embedding(text, self.embeddings)):
            raise InvalidRequestError(
                field, "There is no embedding {name} here. Check its name, or leave it out.", name=repr(name)
            )
        count = self.count_tokens(text)
        most = self.max_tokens
        if count > most and self.chunk_tokens and BREAK.search(text):
            raise InvalidRequestError(
                field,
                plural(
                    "The {field} has {count} chunk and this model reads {most}. Please use BREAK less often, or shorten it.",
                    "The {field} has {count} chunks and this model reads {most}. Please use BREAK less often, or shorten it.",
                ),
                count=math.ceil(count / self.chunk_tokens),
                most=most // self.chunk_tokens,
            )
        if count > most:
            raise InvalidRequestError(
                field,
                plural(
                    "The {field} has {count} token and this model reads {most}: the rest would be ignored. Please shorten it.",
                    "The {field} has {count} tokens and this model reads {most}: the rest would be ignored. Please shorten it.",
                ),
                count=count,
                most=most,
            )

    def _validate_label(self, label: str) -> None:
        if label and not self.guide_labels:
            raise InvalidRequestError("guide_label", "This model has no classifier to steer with.")
        if label and label not in self.guide_labels:
            raise InvalidRequestError(
                "guide_label",
                "Pictures cannot be steered to {label}, only to {known}.",
                label=repr(label),
                known=", ".join(self.guide_labels),
            )

    def _validate_lora(self, name: str) -> None:
        lora = self.loras.get(name)
        if lora is None:
            usable = [f"`{each.name}`" for each in self.loras.values() if not each.problem]
            if not usable:
                raise InvalidRequestError("loras", "There are no LoRAs for this model here. Leave out `{name}`.", name=name)
            known = ", ".join(usable[:LORAS_NAMED]) + (", …" if len(usable) > LORAS_NAMED else "")
            raise InvalidRequestError("loras", "There is no LoRA `{name}` here. Choose one of {known}.", name=name, known=known)
        if lora.problem:
            raise InvalidRequestError("loras", lora.problem.template, **lora.problem.values)

    def size_of(self, ratio: float) -> tuple[float, float]:
        """Return the width and height with about ``ratio`` and the area of the model's square.

        They are those of training pictures, where training had oblong ones.
        """
        if not self.shape_grid:
            return self.sample_side * ratio**0.5, self.sample_side / ratio**0.5
        if ratio < 1:
            height, width = self.size_of(1 / ratio)
            return width, height
        cells = (self.sample_side // self.shape_grid) ** 2
        columns = int(self.sample_side * ratio**0.5) // self.shape_grid
        shapes = [(count, max(1, cells // count)) for count in (columns, columns + 1)]
        width, height = min(shapes, key=lambda shape: abs(math.log(shape[0] / shape[1] / ratio)))
        return width * self.shape_grid, height * self.shape_grid

    def rows(self, request: ImageRequest) -> int:
        """Return the rows per network call of an image: 2 with guidance, else 1."""
        if request.by_upscaler:
            return 1
        return 2 if request.guidance_scale > self.guidance_above else 1

    def seen_size(self, request: ImageRequest) -> tuple[int, int] | None:
        """Return the size of the picture that the network sees beside the latents of ``request``, if there is one.

        It is the picture to edit, or the whole of one that is redrawn in part.
        """
        return request.source_size if self.edits and (request.is_edit or request.mask is not None) else None

    def evaluations(self, request: ImageRequest) -> int:
        """Return the network calls of one image: one or two per step, or one per tile of an upscaler."""
        if request.by_upscaler:
            return math.ceil(request.width / self.upscaler_tile) * math.ceil(request.height / self.upscaler_tile)
        return request.evaluations

    def call_shape(self, request: ImageRequest) -> tuple[int, ...]:
        """Return the shape that decides what a row of a network call costs.

        It is that of the latents, or (1, channels, cells) of the latents and the picture that the network sees, or that of a
        tile of an upscaler.
        """
        if request.by_upscaler:
            return (self.upscaler_tile, self.upscaler_tile)  # all other shapes have more dimensions
        shape = self.latent_shape(request.width, request.height)
        if (seen := self.seen_size(request)) is None:
            return shape
        cells = sum(math.prod(each[2:]) for each in (shape, self.latent_shape(*seen)))
        return (1, self.latent_channels, cells)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the shape of one image's latents."""
        return (1, self.latent_channels, height // self.latent_factor, width // self.latent_factor)


def _names(prompt: str, style: str) -> bool:
    return re.search(rf"\b{re.escape(style)}\b", prompt, re.IGNORECASE) is not None
