"""How much an engine takes on at once, wherever it runs. No tensors."""

from dataclasses import dataclass, field

from diffusion.errors import InvalidRequestError
from diffusion.request import ImageRequest, Limits


@dataclass(frozen=True)
class EngineConfig:
    """How much the engine takes on at once.

    ``max_rows`` bounds the rows of a network call (a guided image is two): None lets the engine find out from its own steps how
    many it takes until more hardly make pictures sooner. ``max_waiting`` bounds the unfinished images in all.
    ``preview_seconds`` is the time between two previews of a job, ``step_seconds`` the time after which a step counts as hung.
    With ``compile``, models are compiled while they draw already (`ImageModel.compile`).
    """

    max_rows: int | None = None
    max_waiting: int = 100
    preview_seconds: float = 0.5
    step_seconds: float = 600
    compile: bool = False
    limits: Limits = field(default_factory=Limits)

    def validate(self, request: ImageRequest) -> None:
        """Raise `InvalidRequestError` where ``request`` asks for more than is ever taken on."""
        request.validate_limits(self.limits)
        if request.count > self.max_waiting:
            raise InvalidRequestError(
                "frames" if request.morph_to else "count",
                "The {field} may be at most {most} here, not {value}.",
                most=self.max_waiting,
                value=request.count,
            )
