"""The interface of a model family: everything that differs between families."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol

import torch
from torch import Tensor, nn

from diffusion.families.defaults import Defaults
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.guidance import classifier_free_guidance
from diffusion.sampling.samplers import Sampler

ABOVE_ALL_SCALES: Final = 1000.0  # of guidance: for models that never need the unconditional row


class Family(Protocol):
    """Encodes prompts and pixels, calls the denoiser and knows its noise schedule.

    A family is built from its ``parts`` by their names, ``scheduler_config`` in place of the scheduler; it knows nothing of
    files, and holds networks on one device. Derive from this class to write one: its implemented methods suit most families.
    """

    pipeline: ClassVar[str]  # diffusers' pipeline class in model_index.json
    other_pipelines: ClassVar[tuple[str, ...]] = ()  # those with the same parts
    label: ClassVar[str]  # for sentences
    parts: ClassVar[Mapping[str, type]]  # by folder: all parts to download and load
    optional_parts: ClassVar[tuple[str, ...]] = ()  # those that drawing does not need
    index_settings: ClassVar[tuple[str, ...]] = ()  # values of model_index.json that the constructor takes, too
    defaults: ClassVar[Defaults] = Defaults()
    guidance_above: float = 1.0  # the scale above which guidance needs the unconditional row
    schedule_depends_on_size: ClassVar[bool] = False
    edits: ClassVar[bool] = False  # True: `predict` takes the latents of a picture to edit, by the name "reference"
    converts: ClassVar[bool] = True  # False: OpenVINO cannot convert its denoiser, which torch calls then
    fits_float16: ClassVar[bool] = True  # False: its values overflow there, so that half precision is bfloat16
    reads_negative_prompt: bool = True  # False: no scale of guidance needs an unconditional row

    samplers: Mapping[str, Sampler]  # those that suit this model; its defaults may offer fewer
    grid: int  # sides of pictures are multiples of this
    latent_factor: int  # pixels of a latent cell's side
    latent_channels: int
    sample_side: int  # default side of a picture in pixels
    shape_grid: int = 0  # oblong pictures of training had sides of multiples of this and one area; 0: there were none
    max_tokens: int  # of a prompt, without its start and end marks
    max_steps: int = 1000  # as many as training had
    max_clip_skip: int = 1  # the most layers of its text encoder from the end; 1 is the last
    chunk_tokens: int = 0  # of each chunk of a prompt with weights; 0: prompts are one plain text
    embeddings: Mapping[str, int] = MappingProxyType({})  # tokens by the names that stand for them in prompts
    embedding_widths: tuple[int, ...] = ()  # of the vectors that stand for a token, for each text encoder
    tokenizer: Any
    denoiser: nn.Module  # the network that `predict` calls
    device: torch.device
    dtype: torch.dtype  # of the denoiser
    pixel_dtype: torch.dtype  # in which pixels become latents and back
    is_static: bool = True  # False: calls move or convert the denoiser's weights, so they are neither recorded nor compiled
    encodes_apart: bool = False  # True: the CPU encodes prompts beside the steps, in a thread of their own

    @property
    def tokenizers(self) -> tuple[Any, ...]:
        """The tokenizers that read a prompt; the one that makes the most tokens of it counts."""
        return (self.tokenizer,)

    @classmethod
    def check_index(cls, index: Mapping[str, Any]) -> None:
        """Raise `ValueError` for a ``model_index.json`` of this pipeline with another purpose.

        The text names what the model is.
        """
        return  # most pipelines serve one purpose

    @classmethod
    def suggest_defaults(cls, names: Iterable[str], configs: Mapping[str, Mapping[str, Any]]) -> Defaults:
        """Return the defaults of a model of this family.

        ``names`` are what it is called: its id, folder, file and title. ``configs`` are those of its parts by name, and "index"
        holds its `index_settings`.
        """
        return cls.defaults

    @classmethod
    def check_configs(cls, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ValueError` for a model that this family would draw wrongly.

        ``configs`` are the JSON objects of the parts by name, as far as they are there. The text names what is not understood.
        """

    @property
    def lora_networks(self) -> Mapping[str, nn.Module]:
        """The networks whose layers LoRAs may change, by the names of diffusers' parts.

        The results of `encode` must not be cached without ``request.loras`` in the key, if a text encoder is among them.
        """
        return {}

    def forget_texts(self) -> None:
        """Forget what `encode` has cached."""

    def count_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` without start and end marks. Safe in any thread."""

    def encode(self, text: str, request: ImageRequest) -> Conditions:
        """Return one row for ``text``, on `device`, in the dtypes that `predict` takes."""

    def set_embeddings(self, vectors: Mapping[str, Mapping[int, Tensor]]) -> None:
        """Let prompts name ``vectors``: (tokens, width) by width, by lower-case names."""

    def rows(self, request: ImageRequest, conditional: Conditions) -> Conditions:
        """Return the rows of a network call, with an unconditional row before the other.

        Without guidance the call has only the ``conditional`` row.
        """
        if request.guidance_scale <= self.guidance_above:
            return conditional
        return Conditions.stack(self.match([self.encode(request.negative_prompt, request), conditional], request))

    def match(self, parts: Sequence[Conditions], request: ImageRequest) -> Sequence[Conditions]:
        """Return ``parts``, which belong to one image, with equal shapes."""
        return parts

    def max_steps_with(self, sampler: str) -> int:
        """Return the most steps of a picture with ``sampler``."""
        return self.max_steps

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Call the denoiser and return its predictions in the shape of ``latents``.

        ``latents`` are (rows, channels, h, w), ``timesteps`` (rows,). All are on `device`. The call must depend
        on its inputs only, because it is compiled and recorded as a graph.
        """

    def guide(self, rows: Tensor, scale: float) -> Tensor:
        """Combine one image's predictions, (2, ...) with guidance or (1, ...) without."""
        if len(rows) == 1:
            return rows
        unconditional, conditional = rows.split(1)
        return classifier_free_guidance(unconditional, conditional, scale)

    def schedule(self, sampler: str, steps: int, shape: tuple[int, ...]) -> Any:
        """Return diffusers' scheduler for latents of ``shape``, with its timesteps set."""

    def predict_x_0(self, x_t: Tensor, predictions: Tensor, timesteps: Tensor) -> Tensor:
        """Estimate the clean latents (rows, channels, h, w) for previews.

        ``x_t`` are inputs of the denoiser.
        """

    def tile(self, side: int) -> None:
        """Let the autoencoder take pictures with a larger area in overlapping tiles of ``side`` pixels."""

    def to_latents(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        """Encode pixels (images, 3, height, width) in [-1, 1] to float32 latents.

        Both are on `device`; the pixels are in `pixel_dtype`. ``generator`` draws from the autoencoder's posterior, where it
        has one; None takes the most likely latents.
        """

    def to_pixels(self, latents: Tensor) -> Tensor:
        """Decode clean latents (images, channels, h, w) from any device to pixels.

        Pixels are (images, 3, height, width) in [-1, 1].
        """


def check_tokenizer(name: str, tokenizer: Any, entries: int) -> None:
    """Raise `ValueError` for a tokenizer that is not that of a text encoder with ``entries``.

    Where its file is missing, transformers makes one of special tokens and at most the space.
    """
    tokens = len(tokenizer)
    special = len(tokenizer.all_special_ids)
    if not special + 1 < tokens <= entries:
        raise ValueError(
            f"its {name} has {tokens} entries and its text encoder {entries}. Is its tokenizer.json or vocab.json there?"
        )
