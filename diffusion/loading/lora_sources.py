"""Where LoRAs come from: folders, and files of the hub, which are downloaded."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from huggingface_hub.hf_api import RepoSibling

from diffusion.errors import DarkroomError, ModelLoadError
from diffusion.loading.hub import HUB_ID, INDEX_FILE, PICKLES, NoWeightsError, fetch_file
from diffusion.lora.catalogue import NamedFile, Source
from diffusion.lora.header import MAX_FILE, SUFFIX

HUB_FILE: Final = re.compile(rf"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(?:/(?P<file>[\w .()+/-]+{re.escape(SUFFIX)}))?")
USUAL_NAMES: Final = ("pytorch_lora_weights", "adapter_model", "lora", "model")  # of files that say nothing of what is in them


def find_lora_sources(setting: str) -> list[Source]:
    """Return the sources that the setting LORAS names, separated by commas.

    Each is a folder, or a hub id with or without the name of a file: ``owner/name/file.safetensors``. Files of the hub are
    downloaded. Raises `DarkroomError` for what cannot be had.
    """
    return [_source(part) for part in filter(None, map(str.strip, setting.split(",")))]


def _source(text: str) -> Source:
    if Path(text).is_dir():
        return Path(text)
    match = HUB_FILE.fullmatch(text)
    if match is None or not HUB_ID.fullmatch(match["id"]) or ".." in text:
        raise DarkroomError("The setting LORAS is wrong: there is no folder {folder}.", folder=text)
    try:
        path = fetch_file(match["id"], lambda files: _choose(files, match["file"]))
    except ModelLoadError as error:
        raise DarkroomError(
            "The setting LORAS is wrong: {source}: {reason}", source=text, reason=error.values["reason"]
        ) from error
    is_usual = path.stem.lower() in USUAL_NAMES
    return NamedFile(path, match["id"].rpartition("/")[2] if is_usual else " ".join(path.stem.split()))


def _choose(files: Sequence[RepoSibling], wanted: str | None) -> RepoSibling:
    """Return the file to download; raises `NoWeightsError`."""
    by_name = {file.rfilename: file for file in files}
    names = [wanted] if wanted else [name for name in by_name if name.endswith(SUFFIX) and "/" not in name]
    if not wanted and INDEX_FILE in by_name:
        raise NoWeightsError("it is a whole model, not a LoRA. Set MODEL_ID or MODELS to it.")
    if not names:
        pickles = [name for name in by_name if name.endswith(PICKLES)]
        only = f" There is only {pickles[0]}, a pickle: opening one can run any code, so it is not read." if pickles else ""
        raise NoWeightsError(f"it has no LoRA in safetensors.{only}")
    if len(names) > 1:
        raise NoWeightsError(f"it has several files. Name one, as owner/name/{names[0]}: {', '.join(sorted(names))}.")
    if (file := by_name.get(names[0])) is None:
        raise NoWeightsError(f"it has no file {names[0]}. Correct its name.")
    if (file.size or 0) > MAX_FILE:
        raise NoWeightsError(f"{file.rfilename} has more than {MAX_FILE >> 30} GiB, so it is no LoRA. Name another file.")
    return file
