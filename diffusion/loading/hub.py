"""Find a model's files in a folder or the hub's cache; download missing ones."""

import errno
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from huggingface_hub import HfApi, constants, get_cached_repo_tree, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import enable_progress_bars

from diffusion.errors import ModelLoadError

HUB_ID: Final = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")
WEIGHTS: Final = re.compile(
    r"(?:model|diffusion_pytorch_model)(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.safetensors(?:\.index(?:\.(?P<index>\w+))?\.json)?"
)
PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth")
TEXT_SUFFIXES: Final = (".json", ".txt")
HALF: Final = "fp16"
ROOM: Final = 100 * 2**20  # bytes that a download leaves free on the disk
TOKENS_URL: Final = f"{constants.ENDPOINT}/settings/tokens"


class NoWeightsError(Exception):
    """A folder of a model has no readable weights; the text names the reason."""


def fetch(source: str, folders: Sequence[str], half: bool = False) -> Path:
    """Return the local folder of ``source`` with its ``folders`` and top-level texts.

    ``source`` is a folder or hub id. "" in ``folders`` stands for the top level. Of a hub id, only the needed files are
    downloaded, with a bar on stderr: the safetensors in fp16 if ``half`` or if there are no others. If the hub is out of
    reach, the cache serves. Raises `ModelLoadError` with what to do.
    """
    if Path(source).is_dir():
        return Path(source)
    if Path(source).is_absolute() or not HUB_ID.fullmatch(source):
        raise ModelLoadError(source, "there is no such folder or file.")
    try:
        info = HfApi().model_info(source, files_metadata=True)
    except (HTTPError, OSError) as error:
        if cached := _cached(source, folders, half):
            return cached
        raise ModelLoadError(source, _hub_error_hint(source, error)) from error
    try:
        wanted = list(_wanted(info.siblings or [], folders, half))
        _check_room(source, wanted, info.sha)
        enable_progress_bars()  # transformers switches them off together with its own
        return Path(snapshot_download(source, allow_patterns=[file.rfilename for file in wanted]))
    except NoWeightsError as error:
        raise ModelLoadError(source, str(error)) from error
    except (HTTPError, OSError) as error:
        raise ModelLoadError(source, _hub_error_hint(source, error)) from error


def fetch_text(source: str, name: str) -> str | None:
    """Return the text file ``name`` of ``source``, None if missing or unreachable.

    ``source`` is a folder or hub id.
    """
    try:
        if Path(source).is_dir():
            return (Path(source) / name).read_text(encoding="utf-8")
        if Path(source).is_absolute() or not HUB_ID.fullmatch(source):
            return None
        return Path(hf_hub_download(source, name)).read_text(encoding="utf-8")
    except (HTTPError, OSError, ValueError):
        return None


def variant_of(names: Iterable[str], folder: str, half: bool) -> str | None:
    """Return the variant of the weights in ``folder``: None (plain) or "fp16".

    ``names`` are all files of the model. Raises `NoWeightsError` if there are none in safetensors.
    """
    here = [name.rpartition("/")[2] for name in names if name.rpartition("/")[0] == folder]
    variants = {_variant(match) for name in here if (match := WEIGHTS.fullmatch(name))}
    if HALF in variants and (half or None not in variants):
        return HALF
    if None in variants:
        return None
    expected = f"{folder}/{'model' if folder in ('text_encoder', 'safety_checker', '') else 'diffusion_pytorch_model'}"
    missing = f"its {expected.removeprefix('/')}.safetensors is missing."
    if pickles := [name for name in here if name.endswith(PICKLES)]:
        missing += f" There is only {pickles[0]}, a pickle: opening one can run any code, so it is not read."
    raise NoWeightsError(missing)


def _wanted(files: Collection[RepoSibling], folders: Sequence[str], half: bool) -> Iterable[RepoSibling]:
    """Yield the files of ``folders`` to download: texts and one variant of weights."""
    names = [file.rfilename for file in files]
    weighed = {name.rpartition("/")[0] for name in names if name.endswith((*PICKLES, ".safetensors"))}
    variants = {folder: variant_of(names, folder, half) for folder in folders if folder in weighed}
    for file in files:
        folder, _, name = file.rfilename.rpartition("/")
        if match := WEIGHTS.fullmatch(name):
            if folder in variants and _variant(match) == variants[folder]:
                yield file
        elif folder in ("", *folders) and name.endswith(TEXT_SUFFIXES):
            yield file


def _variant(match: re.Match[str]) -> str | None:
    return match["variant"] or match["index"]


def _check_room(source: str, files: Iterable[RepoSibling], revision: str | None) -> None:
    """Raise `ModelLoadError` if the disk has no room for the uncached ``files``."""
    there = [isinstance(try_to_load_from_cache(source, file.rfilename, revision=revision), str) for file in files]
    needed = sum(file.size or 0 for file, cached in zip(files, there, strict=True) if not cached)
    cache = Path(constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if needed and needed + ROOM > free:
        reason = (
            f"its download takes {needed / 1e9:.1f} GB, and {cache} has {free / 1e9:.1f} GB left."
            " Make room there, or set HF_HOME to a folder on a larger disk."
        )
        raise ModelLoadError(source, reason)


def _cached(source: str, folders: Sequence[str], half: bool) -> Path | None:
    """Return the cached folder of ``source``, None if files are missing."""
    try:
        files = [RepoSibling(file.path) for file in get_cached_repo_tree(source)]
        needed = [list(_wanted(files, folders, choice)) for choice in (half, not half)]
    except CachedRepoTreeNotFoundError:  # nothing, or downloaded by an earlier version of the library
        needed = [[RepoSibling(f"{folder}/config.json".removeprefix("/"))] for folder in folders]
    except NoWeightsError:
        return None
    for wanted in needed:
        found = [try_to_load_from_cache(source, file.rfilename) for file in wanted]
        if found and all(isinstance(path, str) for path in found):
            return Path(str(found[0])).parents[wanted[0].rfilename.count("/")]
    return None


def _hub_error_hint(source: str, error: Exception) -> str:
    """Return a hint at how to fix ``error`` of the hub."""
    if isinstance(error, GatedRepoError):
        return (
            f"it is gated. Log in on {constants.ENDPOINT}/{source}, accept its licence there, and set HF_TOKEN to a token"
            f" of that account ({TOKENS_URL})."
        )
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such folder, and the hub knows no model of this name. A private one needs HF_TOKEN."
    if isinstance(error, OfflineModeIsEnabled):
        return "the cache does not have all of it, and HF_HUB_OFFLINE forbids the download."
    if isinstance(error, HfHubHTTPError):
        if error.response.status_code == 401:
            return f"the hub does not accept HF_TOKEN. Make another one: {TOKENS_URL}"
        return f"the hub answers with status {error.response.status_code}. Try again later: complete files are kept."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk of {constants.HF_HUB_CACHE} is full. Make room, or set HF_HOME to a folder on a larger disk."
    reason = str(error).partition("\n")[0] or type(error).__name__
    return f"the hub cannot be reached ({reason}). Try again later: complete files are kept."
