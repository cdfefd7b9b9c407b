"""The settings of a picture as texts that a member edits in a form."""

import math
from dataclasses import dataclass
from typing import Any, Self

from cogs.core.request.prompt import clean, clean_later_prompt, prompt_source
from diffusion.errors import InvalidRequestError, Problems
from diffusion.lora.tags import format_tags
from diffusion.request import MAX_SEED, ImageRequest, random_seed

MAX_GUIDANCE = 30


@dataclass(frozen=True)
class Edit:
    """The texts of the form, as typed.

    ``target`` is the second prompt of a morph, None without.
    """

    prompt: str
    negative: str
    steps: str
    guidance: str
    seed: str
    target: str | None = None

    @classmethod
    def from_request(cls, request: ImageRequest) -> Self:
        """Fill in the settings of ``request``."""
        return cls(
            prompt=" ".join(filter(None, (prompt_source(request), format_tags(request.loras)))),
            negative=request.negative_prompt,
            steps=str(request.steps),
            guidance=f"{request.guidance_scale:g}",
            seed=str(request.seed),
            target=request.morph_to or None,
        )

    def request_fields(self, max_steps: int) -> dict[str, Any]:
        """Return all but the prompt by the fields of `ImageRequest`.

        Raises `InvalidRequestError` for bad input.
        """
        fields: dict[str, Any] = {"negative_prompt": clean(self.negative)}
        problems = Problems()
        if self.target is not None:
            with problems.collect():
                fields["morph_to"] = _parse_target(self.target)
        with problems.collect():
            fields["steps"] = int(_parse_number("steps", self.steps, 1, max_steps))
        with problems.collect():
            fields["guidance_scale"] = _parse_number("guidance", self.guidance, 0, MAX_GUIDANCE, whole=False)
        with problems.collect():
            fields["seed"] = int(_parse_number("seed", self.seed, 0, MAX_SEED)) if self.seed.strip() else random_seed()
        problems.report()
        return fields


def _parse_target(typed: str) -> str:
    target = clean_later_prompt(typed)
    if not target:
        raise InvalidRequestError("morph_to", "The second prompt is empty. Please say what the picture should become.")
    return target


def _parse_number(field: str, typed: str, least: int, most: int, whole: bool = True) -> float:
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
