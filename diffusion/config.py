"""The settings of an engine, local or remote. No tensors."""

import math
from dataclasses import dataclass, field
from typing import Literal

from diffusion.errors import InvalidRequestError
from diffusion.request import ImageRequest, Limits

Compile = bool | Literal["auto"]


@dataclass(frozen=True)
class EngineConfig:
    """The batch, queue and time settings of an engine.

    - ``max_rows``: the most rows of a network call; a guided image has two. None: for each size as many
      as measured throughput makes useful.
    - ``max_waiting``: the most unfinished images.
    - ``max_waiting_seconds``: the most seconds of unfinished work, by its price.
    - ``preview_seconds``: the time between two previews of a job.
    - ``step_seconds``: the time after which a step counts as hung.
    - ``models_max_bytes``: the most memory of all loaded models together; None: what their device has.
    - ``compile``: compile models in the background (`ImageModel.compile`); "auto" leaves it where that is quick and safe.
    """

    max_rows: int | None = None
    max_waiting: int = 100
    max_waiting_seconds: float = math.inf
    preview_seconds: float = 0.5
    step_seconds: float = 600
    models_max_bytes: int | None = None
    compile: Compile = False
    limits: Limits = field(default_factory=Limits)

    def validate(self, request: ImageRequest) -> None:
        """Raise `InvalidRequestError` if ``request`` exceeds the limits or the queue."""
        request.validate_limits(self.limits)
        if request.count > self.max_waiting:
            raise InvalidRequestError(
                "frames" if request.morph_to else "count",
                "The {field} may be at most {most} here, not {value}.",
                most=self.max_waiting,
                value=request.count,
            )
