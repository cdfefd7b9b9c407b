"""Textual inversion: files of vectors that stand for words of a prompt."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffusion.errors import ModelLoadError
from diffusion.families.model import ImageModel

log = logging.getLogger(__name__)
SUFFIX: Final = ".safetensors"
PICKLES: Final = (".pt", ".bin", ".pth", ".ckpt")
MAX_BYTES: Final = 16 * 2**20
NAME: Final = re.compile(r"[\w-]+(?:\.[\w-]+)*")  # what a prompt can name
XL_KEYS: Final = {"clip_l", "clip_g"}  # by encoder of Stable Diffusion XL

Vectors = Mapping[int, Tensor]  # (tokens, width) by width


def add_embeddings(model: ImageModel, folder: Path) -> None:
    """Let prompts of ``model`` name the embeddings in the files of ``folder``.

    Files that are no embeddings for it are left out, each with a warning in the log. Raises `ModelLoadError` if there is no
    such folder.
    """
    if not folder.is_dir():
        raise ModelLoadError(str(folder), "EMBEDDINGS names no folder. Correct or remove this setting.")
    found: dict[str, Vectors] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.suffix.lower() not in (SUFFIX, *PICKLES):
            continue
        try:
            name = path.stem.lower()
            if name in found:
                raise ValueError("another file has the same name in other letters. Rename one of them.")
            found[name] = _fitting(read_embedding(path), model)
        except ValueError as error:
            log.warning("the embedding %s is left out: %s", path.name, error)
    model.set_embeddings(found)


def _fitting(vectors: Vectors, model: ImageModel) -> Vectors:
    """Return ``vectors``; raises `ValueError` if ``model`` cannot read them."""
    widths = model.family.embedding_widths
    if not widths:
        raise ValueError("this model reads no embeddings.")
    if set(vectors) != set(widths):
        ours, theirs = (", ".join(map(str, sorted(each))) for each in (widths, vectors))
        raise ValueError(f"it is for another model: its vectors have the width {theirs}, and those of this model {ours}.")
    count = len(next(iter(vectors.values())))
    if count > model.chunk_tokens:
        raise ValueError(f"it has {count} vectors, and this model reads {model.chunk_tokens} at a time.")
    return vectors


def read_embedding(path: Path) -> Vectors:
    """Read the vectors in ``path``, in the layout of A1111, diffusers or Stable Diffusion XL.

    Raises `ValueError` with a sentence for any other file.
    """
    if path.suffix.lower() in PICKLES:
        raise ValueError("it is a pickle. Opening one can run any code, so it is not read. Convert it to safetensors.")
    if not NAME.fullmatch(path.stem):
        raise ValueError("its name is no word. Rename it with letters, digits, hyphens, dots and underscores.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB, so it is no embedding.")
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            tensors = {name: file.get_tensor(name) for name in names} if len(names) <= len(XL_KEYS) else {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"it is no complete safetensors file ({error}).") from error
    if names != XL_KEYS and len(names) != 1:
        raise ValueError("it is no embedding (textual inversion): an embedding has one tensor, or clip_l and clip_g.")
    by_width = {}
    for tensor in tensors.values():
        vectors = tensor[None] if tensor.ndim == 1 else tensor
        if vectors.ndim != 2 or not vectors.is_floating_point() or not len(vectors) >= 1:
            raise ValueError("its tensor is no list of vectors.")
        if not vectors.isfinite().all():
            raise ValueError("its numbers are not finite.")
        by_width[vectors.shape[1]] = vectors.float()
    if len({len(vectors) for vectors in by_width.values()}) != 1:
        raise ValueError("it has another number of vectors for each text encoder.")
    return by_width
