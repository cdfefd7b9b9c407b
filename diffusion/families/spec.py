"""What a model takes, as far as that can be told without its networks."""

from typing import Any

from diffusion.errors import InvalidRequestError
from diffusion.families.defaults import Defaults
from diffusion.request import ImageRequest
from diffusion.text import plural


class ModelSpec:
    """Which sizes, prompts and labels a model takes, and what suits it where a request leaves that open.

    Pictures have sides of whole ``latent_factor`` pixels, each a cell of ``latent_channels`` values, and by default
    ``sample_side``. Requests can steer towards the labels ``guide_labels``. ``device`` and ``dtype`` say where and in which
    precision it computes. All of this is safe in any thread.
    """

    name: str
    defaults: Defaults
    tokenizer: Any
    guide_labels: tuple[str, ...]
    latent_factor: int
    latent_channels: int
    sample_side: int
    device: Any
    dtype: Any

    def request(self, prompt: str, **settings: Any) -> ImageRequest:
        """Make a request for ``prompt`` with this model's own size and defaults where ``settings`` leave them open."""
        own: dict[str, Any] = {
            "width": self.sample_side,
            "height": self.sample_side,
            "guidance_scale": self.defaults.guidance_scale,
            "upscale": self.defaults.upscale,
            **self.defaults.of("standard"),
        }
        return ImageRequest(prompt, **own | {key: value for key, value in settings.items() if value is not None})

    def validate(self, request: ImageRequest) -> None:
        """Raise `InvalidRequestError` for sizes between the model's latent cells, over-long prompts and unknown labels."""
        for field in ("width", "height"):
            if getattr(request, field) % self.latent_factor:
                below = getattr(request, field) // self.latent_factor * self.latent_factor
                raise InvalidRequestError(
                    field,
                    "The {field} must be a multiple of {factor}: try {less} or {more}.",
                    factor=self.latent_factor,
                    less=max(below, self.latent_factor),
                    more=below + self.latent_factor,
                )
        texts = {"prompt": request.prompts, "negative_prompt": (request.negative_prompt,)}
        for field, text in ((field, text) for field, given in texts.items() for text in given):
            count, most = self.count_tokens(text), self.max_tokens
            if count > most:
                raise InvalidRequestError(
                    field,
                    plural(
                        "The {field} has {count} token and this model reads {most}: the rest would be ignored."
                        " Please shorten it.",
                        "The {field} has {count} tokens and this model reads {most}: the rest would be ignored."
                        " Please shorten it.",
                    ),
                    count=count,
                    most=most,
                )
        if request.guide_label and not self.guide_labels:
            raise InvalidRequestError("guide_label", "This model has no classifier to steer with.")
        if request.guide_label and request.guide_label not in self.guide_labels:
            raise InvalidRequestError(
                "guide_label",
                "Pictures cannot be steered to {label}, only to {known}.",
                label=repr(request.guide_label),
                known=", ".join(self.guide_labels),
            )

    @property
    def max_tokens(self) -> int:
        """How many tokens of a prompt are read, beside its start and end marks."""
        return int(self.tokenizer.model_max_length) - 2

    def count_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` without its start and end marks."""
        return len(self._input_ids(text)) - 2

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Give the shape of one image's latents."""
        return (1, self.latent_channels, height // self.latent_factor, width // self.latent_factor)

    def _input_ids(self, text: str) -> list[int]:
        # The tokenizer is asked for neither padding nor truncation: setting those changes it, which other threads would notice.
        return self.tokenizer(text, verbose=False).input_ids
