"""Find the family of a model by its model_index.json."""

import json
from pathlib import Path
from typing import Any

from diffusion.families.family import Family
from diffusion.families.registry import FAMILIES
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.hub import fetch_text

INDEX_FILE = "model_index.json"
FILES = (".safetensors", ".ckpt")


def is_single_file(source: str) -> bool:
    """Whether ``source`` names a file, existing or not, not a folder or hub id."""
    return Path(source).is_file() or Path(source).suffix in FILES


def family_of(source: str) -> type[Family]:
    """Return the family of a folder or hub id, Stable Diffusion if it is unknown.

    Loading an unknown model raises the reason.
    """
    return FAMILIES.get(str(_index(source).get("_class_name")), StableDiffusion)


def _index(source: str) -> dict[str, Any]:
    text = fetch_text(source, INDEX_FILE)
    try:
        index = json.loads(text or "{}")
    except ValueError:
        return {}
    return index if isinstance(index, dict) else {}
