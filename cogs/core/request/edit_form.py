"""The settings of a picture as a member edits them: text that may be anything."""

import math
from dataclasses import dataclass
from typing import Any, Self

from cogs.core.request.options import clean
from cogs.core.request.prompt_matrix import written
from diffusion.errors import InvalidRequestError
from diffusion.request import MAX_SEED, ImageRequest, random_seed

MAX_GUIDANCE = 30


@dataclass(frozen=True)
class Edit:
    """What stands in the form, as it was typed."""

    prompt: str
    negative: str
    steps: str
    guidance: str
    seed: str

    @classmethod
    def of(cls, request: ImageRequest) -> Self:
        """Fill the form in with the settings of ``request``."""
        return cls(
            prompt=written(request),
            negative=request.negative_prompt,
            steps=str(request.steps),
            guidance=f"{request.guidance_scale:g}",
            seed=str(request.seed),
        )

    def settings(self, most_steps: int) -> dict[str, Any]:
        """Give all but the prompt as `ImageRequest` takes them; raises `InvalidRequestError`, which says what may be typed."""
        return {
            "negative_prompt": clean(self.negative),
            "steps": int(_number("steps", self.steps, 1, most_steps)),
            "guidance_scale": _number("guidance", self.guidance, 0, MAX_GUIDANCE, whole=False),
            "seed": int(_number("seed", self.seed, 0, MAX_SEED)) if self.seed.strip() else random_seed(),
        }


def _number(field: str, typed: str, least: int, most: int, whole: bool = True) -> float:
    try:
        number = float(typed.strip().replace(",", "."))
    except ValueError:
        number = math.nan
    if not least <= number <= most or (whole and number % 1):
        if whole:
            raise InvalidRequestError(
                field, "The {field} must be a whole number from {least} to {most}.", least=least, most=most
            )
        raise InvalidRequestError(field, "The {field} must be a number from {least} to {most}.", least=least, most=most)
    return number
