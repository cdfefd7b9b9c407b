"""Fooocus and its forks: a JSON text with a performance, a resolution or a base model.

Fooocus can also write A1111's parameters text.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from diffusion.images.metadata.recipe import (
    COMMENTS,
    Recipe,
    UnreadableError,
    as_list,
    as_number,
    as_text,
    find_json,
    known,
    sampler_name,
)

MARKS: Final = ("base_model", "base_model_name", "resolution", "performance")
RESOLUTION: Final = re.compile(r"\D{0,3}(\d{1,5})\D{1,4}(\d{1,5})")
NONE: Final = ("", "None", "[]", "['']")
MAX_NAME: Final = 100
MAX_LORAS: Final = 20


def read(texts: Mapping[str, str]) -> Recipe | None:
    """Read the settings of Fooocus, whose names differ by version in case and spaces."""
    found = find_json(texts, *COMMENTS)
    values = {name.lower().replace(" ", "_"): value for name, value in found.items() if len(name) <= MAX_NAME}
    if "fooocus_scheme" not in texts and not any(name in values for name in MARKS):
        return None
    if not values:
        if texts["fooocus_scheme"] == "a1111":
            return None
        raise UnreadableError("Fooocus", "parameters")
    size = RESOLUTION.match(as_text(values.get("resolution")))
    settings = known(
        prompt=as_text(values.get("prompt")),
        negative_prompt=as_text(values.get("negative_prompt"), values.get("negative")),
        steps=as_number(int, values.get("steps")),
        guidance_scale=as_number(float, values.get("guidance_scale"), values.get("cfg")),
        seed=as_number(int, values.get("seed")),
        width=int(size[1]) if size else as_number(int, values.get("width")),
        height=int(size[2]) if size else as_number(int, values.get("height")),
    )
    return Recipe(
        settings,
        as_text(values.get("base_model"), values.get("base_model_name")),
        sampler_name(as_text(values.get("sampler"), values.get("sampler_name")), as_text(values.get("scheduler"))),
        loras=tuple(_loras(values)),
        left_out=tuple(_left_out(values)),
    )


def _loras(values: dict[str, Any]) -> Iterator[str]:
    for lora in as_list(values.get("loras"))[:MAX_LORAS]:
        yield as_text(as_list(lora)[0] if as_list(lora) else lora)
    for name, value in values.items():
        if name.startswith("lora_combined_"):
            yield as_text(value).partition(" : ")[0]


def _left_out(values: dict[str, Any]) -> Iterator[str]:
    if as_text(values.get("refiner_model"), values.get("refiner")) not in NONE:
        yield "Refiner"
    styles = values.get("styles")
    if styles and str(styles) not in NONE:
        yield f"Styles {styles}"
