"""The settings of a picture as texts that a member edits in a form."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

from cogs.core.request.options import parse_size
from cogs.core.request.prompt import ParsedPrompt, clean, clean_later_prompt, prompt_source
from diffusion.errors import InvalidRequestError, Problems
from diffusion.lora.tags import DEFAULT_WEIGHT, find_tags, format_tags
from diffusion.request import MAX_SEED, ImageRequest, random_seed

MAX_GUIDANCE = 30


@dataclass(frozen=True)
class Edit:
    """What the forms hold, as typed or chosen.

    ``target`` is the second prompt of a morph, None without. Empty texts of the second form keep what the picture has:
    ``model``, ``style``, ``size``, ``quality`` and ``sampler``.
    """

    prompt: str
    negative: str
    steps: str
    guidance: str
    seed: str
    target: str | None = None
    model: str = ""
    style: str = ""
    size: str = ""
    quality: str = ""
    sampler: str = ""

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
        if self.size:
            with problems.collect():
                fields["width"], fields["height"] = parse_size(self.size)
        if self.sampler:
            fields["sampler"] = self.sampler
        problems.report()
        return fields

    def with_flags(self, prompt: ParsedPrompt) -> ParsedPrompt:
        """Return ``prompt`` with the chosen model and style as its flags; those that were typed in it count before."""
        chosen = {"model": self.model, "style": self.style}
        return replace(prompt, flags={name: value for name, value in chosen.items() if value} | dict(prompt.flags))

    def with_loras(self, names: Iterable[str]) -> "Edit":
        """Return a copy whose prompt has the LoRAs ``names``, in the weights that it has already."""
        text, loras = find_tags(self.prompt)
        weights = dict(loras)
        tags = format_tags((name, weights.get(name, DEFAULT_WEIGHT)) for name in names)
        return replace(self, prompt=" ".join(filter(None, (text, tags))))


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
