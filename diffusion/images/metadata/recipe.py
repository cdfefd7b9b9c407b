"""Read how a PNG was made: by this project, by A1111's tools or by ComfyUI."""

import json
from dataclasses import dataclass
from typing import Any

from diffusion.images.metadata.comfyui import read_graph
from diffusion.images.parameters import parse_settings, read_text_chunks, split_parameters


@dataclass(frozen=True)
class Recipe:
    """How an image was made: settings of `ImageRequest`, model and sampler."""

    settings: dict[str, Any]
    model: str = ""
    sampler: str = ""


def read_recipe(data: bytes) -> Recipe:
    """Read the recipe in the text chunks of a PNG.

    Raises `InvalidImageError` if they hold none.
    """
    texts = read_text_chunks(data)
    if "prompt" not in texts or "parameters" in texts:
        return parse_recipe(texts.get("parameters", ""))
    try:
        graph = json.loads(texts["prompt"])
    except (ValueError, RecursionError):
        graph = None
    return Recipe(*read_graph(graph))


def parse_recipe(text: str) -> Recipe:
    """Parse a parameters text; raises `InvalidImageError` for any other text."""
    head, values = split_parameters(text)
    schedule = values.get("Schedule type", "").removeprefix("Automatic")
    return Recipe(parse_settings(head, values), values.get("Model", ""), f"{values.get('Sampler', '')} {schedule}".strip())
