"""What a PNG says about how it was made: by this project, by A1111's tools or by ComfyUI."""

import json
from dataclasses import dataclass
from typing import Any

from diffusion.images.metadata.comfyui import read_graph
from diffusion.images.parameters import parse_settings, read_text_chunks, split_parameters


@dataclass(frozen=True)
class Recipe:
    """How a picture was made: ``settings`` of `ImageRequest`, and the names that its file gives to model and sampler."""

    settings: dict[str, Any]
    model: str = ""
    sampler: str = ""


def read_recipe(data: bytes) -> Recipe:
    """Read the text chunks of a PNG; raises `InvalidImageError` where they don't tell how it was made."""
    texts = read_text_chunks(data)
    if "prompt" not in texts or "parameters" in texts:
        return parse_recipe(texts.get("parameters", ""))
    try:
        graph = json.loads(texts["prompt"])
    except (ValueError, RecursionError):
        graph = None
    return Recipe(*read_graph(graph))


def parse_recipe(text: str) -> Recipe:
    """Read what stands in a chunk ``parameters``; raises `InvalidImageError` for anything else."""
    head, values = split_parameters(text)
    schedule = values.get("Schedule type", "").removeprefix("Automatic")
    return Recipe(parse_settings(head, values), values.get("Model", ""), f"{values.get('Sampler', '')} {schedule}".strip())
