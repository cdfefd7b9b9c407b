"""Which family is this? A folder or hub id says so in its model_index.json, a single file by the names of its tensors."""

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
    """Whether ``source`` names one file, there or not, rather than a folder or hub id."""
    return Path(source).is_file() or Path(source).suffix in FILES


def family_of(source: str) -> type[Family]:
    """Return the family of the folder or hub id ``source``, Stable Diffusion where its index names none that is known.

    Loading such a model tells what does not fit.
    """
    return FAMILIES.get(str(_index(source).get("_class_name")), StableDiffusion)


def _index(source: str) -> dict[str, Any]:
    text = fetch_text(source, INDEX_FILE)
    try:
        index = json.loads(text or "{}")
    except ValueError:
        return {}
    return index if isinstance(index, dict) else {}
