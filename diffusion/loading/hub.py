"""Find a model's files in a folder or the hub's cache; download missing ones."""

import errno
import glob
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from huggingface_hub import HfApi, ModelInfo, constants, get_cached_repo_tree, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from diffusion.errors import ModelLoadError

HUB_ID: Final = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")
WEIGHTS: Final = re.compile(
    r"(?:model|diffusion_pytorch_model)(?:\.(?P<variant>\w+))?(?:-(?P<shard>\d+)-of-(?P<shards>\d+))?\.safetensors(?:\.index(?:\.(?P<index>\w+))?\.json)?"
)
PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth")
OTHER_WEIGHTS: Final = (".onnx", ".msgpack", ".h5", ".gguf")
TEXT_SUFFIXES: Final = (".json", ".txt", ".jinja", ".csv")  # how a prompt stands in a chat; the tags of a tagger
HALF: Final = "fp16"
INDEX_FILE: Final = "model_index.json"
CONFIGS: Final = re.compile(r"(?:modular_)?model_index\.json|(?:[\w.-]+/)?(?:config|scheduler_config|adapter_config)\.json")
CACHED_CONFIGS: Final = (INDEX_FILE, "unet/config.json")  # one of them shows the folder of a cached model
TRANSFORMERS_FOLDERS: Final = ("text_encoder", "text_encoder_2", "safety_checker", "")  # they name their weights otherwise
ROOM: Final = 100 * 2**20  # bytes that a download leaves free on the disk
NO_ACCESS: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
TOKENS_URL: Final = f"{constants.ENDPOINT}/settings/tokens"


class NoWeightsError(Exception):
    """A folder of a model has no readable weights; the text names the reason."""


@dataclass(frozen=True)
class Configs:
    """The configurations of a model, in ``folder``, and the ``names`` of all its files."""

    folder: Path
    names: tuple[str, ...]
    is_local: bool = False

    def read(self, name: str) -> dict[str, Any] | None:
        """Read the JSON file ``name``; None if there is none.

        Raises `ValueError` if it holds no object.
        """
        try:
            value = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(f"its {name} is damaged: {error}.") from error
        if not isinstance(value, dict):
            raise ValueError(f"its {name} holds no JSON object.")
        return value


def fetch_configs(source: str) -> Configs:
    """Return the configurations of ``source``, a folder or hub id, without weights.

    Raises `ModelLoadError` with what to do.
    """
    if Path(source).is_dir():
        return Configs(
            Path(source), tuple(path.relative_to(source).as_posix() for path in _two_levels(Path(source))), is_local=True
        )
    try:
        info = _hub_info(source)
    except (HTTPError, OSError) as error:
        if cached := _cached_configs(source):
            return cached
        raise ModelLoadError(source, _hub_error_hint(source, error)) from error
    names = tuple(file.rfilename for file in info.siblings or [])
    wanted = [name for name in names if CONFIGS.fullmatch(name)]
    if not wanted:
        return Configs(Path("no configurations"), names)
    try:
        disable_progress_bars()  # they are small
        return Configs(Path(snapshot_download(source, allow_patterns=wanted)), names)
    except (HTTPError, OSError) as error:
        raise ModelLoadError(source, _hub_error_hint(source, error)) from error


def fetch_texts(source: str, folders: Sequence[str]) -> Path:
    """Return the local folder of ``source`` with the texts in its ``folders`` and on its top level, without weights.

    Raises `ModelLoadError` with what to do.
    """
    configs = fetch_configs(source)
    if Path(source).is_dir():
        return configs.folder
    wanted = [name for name in configs.names if name.rpartition("/")[0] in ("", *folders) and name.endswith(TEXT_SUFFIXES)]
    if all((configs.folder / name).is_file() for name in wanted):
        return configs.folder
    try:
        disable_progress_bars()  # they are small
        return Path(snapshot_download(source, allow_patterns=wanted))
    except (HTTPError, OSError) as error:
        raise ModelLoadError(source, _hub_error_hint(source, error)) from error


def fetch(source: str, folders: Sequence[str], half: bool = False, *, without_weights: Collection[str] = ()) -> Path:
    """Return the local folder of ``source`` with its ``folders`` and top-level texts.

    ``source`` is a folder or hub id. "" in ``folders`` stands for the top level. Only texts are needed of those that are
    ``without_weights``. Of a hub id, only the needed files are
    downloaded, with a bar on stderr: the safetensors in fp16 if ``half`` or if there are no others. If the hub is out of
    reach, the cache serves. Raises `ModelLoadError` with what to do.
    """
    if Path(source).is_dir():
        return Path(source)
    try:
        info = _hub_info(source)
    except (HTTPError, OSError) as error:
        if cached := _cached(source, folders, half, without_weights):
            return cached
        raise ModelLoadError(source, _hub_error_hint(source, error)) from error
    try:
        wanted = list(_wanted(info.siblings or [], folders, half, without_weights))
        _check_room(source, wanted, info.sha)
        enable_progress_bars()  # transformers switches them off together with its own
        return Path(snapshot_download(source, allow_patterns=[file.rfilename for file in wanted]))
    except NoWeightsError as error:
        raise ModelLoadError(source, str(error)) from error
    except (HTTPError, OSError) as error:
        raise ModelLoadError(source, _hub_error_hint(source, error)) from error


def fetch_file(source: str, choose: Callable[[Sequence[RepoSibling]], RepoSibling]) -> Path:
    """Return the local path of the file that ``choose`` takes of the hub id ``source``.

    It is downloaded if the cache lacks it. If the hub is out of reach, the cache serves. Raises `ModelLoadError` with what to
    do, also for a `NoWeightsError` of ``choose``.
    """
    try:
        try:
            info = _hub_info(source)
        except (HTTPError, OSError) as error:
            if cached := _cached_file(source, choose):
                return cached
            raise ModelLoadError(source, _hub_error_hint(source, error)) from error
        file = choose(info.siblings or [])
        _check_room(source, [file], info.sha)
        enable_progress_bars()
        return Path(snapshot_download(source, allow_patterns=[glob.escape(file.rfilename)])) / file.rfilename
    except NoWeightsError as error:
        raise ModelLoadError(source, str(error)) from error
    except (HTTPError, OSError) as error:
        raise ModelLoadError(source, _hub_error_hint(source, error)) from error


def _hub_info(source: str) -> ModelInfo:
    """Ask the hub for the files of ``source``.

    Raises `ModelLoadError` for what cannot be a hub id, or an error of the hub.
    """
    if Path(source).is_absolute() or not HUB_ID.fullmatch(source):
        raise ModelLoadError(source, "there is no such folder or file.")
    return HfApi().model_info(source, files_metadata=True)


def _two_levels(folder: Path) -> Iterable[Path]:
    """Yield the files in ``folder`` and in its folders, in order."""
    return sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file())


def _cached_configs(source: str) -> Configs | None:
    """Return the cached configurations of ``source``, None if there are none."""
    for name in CACHED_CONFIGS:
        if isinstance(path := try_to_load_from_cache(source, name), str):
            folder = Path(path).parents[name.count("/")]
            return Configs(folder, tuple(file.relative_to(folder).as_posix() for file in _two_levels(folder)))
    return None


def variant_of(names: Iterable[str], folder: str, half: bool) -> str | None:
    """Return the variant of the weights in ``folder``: None (plain) or "fp16".

    ``names`` are all files of the model. Raises `NoWeightsError` if there are none in safetensors.
    """
    here = [name.rpartition("/")[2] for name in names if name.rpartition("/")[0] == folder]
    found = [match for name in here if (match := WEIGHTS.fullmatch(name))]
    variants = {_variant(match) for match in found}
    if variants & {None, HALF}:
        variant = HALF if HALF in variants and (half or None not in variants) else None
        _assert_shards([match for match in found if _variant(match) == variant], folder)
        return variant
    expected = f"{folder}/{'model' if folder in TRANSFORMERS_FOLDERS else 'diffusion_pytorch_model'}"
    missing = f"its {expected.removeprefix('/')}.safetensors is missing."
    if pickles := [name for name in here if name.endswith(PICKLES)]:
        missing += f" There is only {pickles[0]}, a pickle: opening one can run any code, so it is not read."
    elif others := [name for name in here if name.endswith(OTHER_WEIGHTS)]:
        missing += f" There is only {others[0]}, whose format is not read."
    raise NoWeightsError(missing)


def _assert_shards(weights: Collection[re.Match[str]], folder: str) -> None:
    """Raise `NoWeightsError` unless ``weights``, of one variant, are one whole file or all of its shards."""
    files = [match for match in weights if not match[0].endswith(".json")]
    if any(match["shard"] is None for match in files):
        return
    there = {int(match["shard"]) for match in files}
    count = max((int(match["shards"]) for match in files), default=1)
    if len(there) < count:
        missing = next(number for number in range(1, count + 1) if number not in there)
        raise NoWeightsError(f"of the weights of its {folder}, shard {missing} of {count} is missing. Get all shards.")


def _wanted(
    files: Collection[RepoSibling], folders: Sequence[str], half: bool, without_weights: Collection[str]
) -> Iterable[RepoSibling]:
    """Yield the files of ``folders`` to download: texts and one variant of weights, but for those ``without_weights``."""
    names = [file.rfilename for file in files]
    weighed = {name.rpartition("/")[0] for name in names if name.endswith((*PICKLES, *OTHER_WEIGHTS, ".safetensors"))}
    weighed.difference_update(without_weights)
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


def _cached(source: str, folders: Sequence[str], half: bool, without_weights: Collection[str]) -> Path | None:
    """Return the cached folder of ``source``, None if files are missing."""
    try:
        files = [RepoSibling(file.path) for file in get_cached_repo_tree(source)]
        needed = [list(_wanted(files, folders, choice, without_weights)) for choice in (half, not half)]
    except CachedRepoTreeNotFoundError:  # nothing, or downloaded by an earlier version of the library
        needed = [[RepoSibling(f"{folder}/config.json".removeprefix("/"))] for folder in folders]
    except NoWeightsError:
        return None
    for wanted in needed:
        found = [try_to_load_from_cache(source, file.rfilename) for file in wanted]
        if found and all(isinstance(path, str) for path in found):
            return Path(str(found[0])).parents[wanted[0].rfilename.count("/")]
    return None


def _cached_file(source: str, choose: Callable[[Sequence[RepoSibling]], RepoSibling]) -> Path | None:
    """Return the cached file that ``choose`` takes of ``source``, None if it is not there."""
    try:
        files = [RepoSibling(file.path) for file in get_cached_repo_tree(source)]
    except CachedRepoTreeNotFoundError:
        return None
    path = try_to_load_from_cache(source, choose(files).rfilename)
    return Path(path) if isinstance(path, str) else None


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
    if isinstance(error, OSError) and error.errno in NO_ACCESS:
        return f"{constants.HF_HUB_CACHE} cannot be written to. Allow this user to, or set HF_HOME to another folder."
    reason = str(error).partition("\n")[0] or type(error).__name__
    return f"the hub cannot be reached ({reason}). Try again later: complete files are kept."
