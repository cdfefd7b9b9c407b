"""The LoRAs in the operator's folders: names, trigger words, and which of them the model can use. No tensors."""

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from diffusion.errors import DarkroomError
from diffusion.lora.header import PICKLE_SUFFIXES, SUFFIX, LoraError, read_header
from diffusion.lora.kinds import triggers_of
from diffusion.lora.layer_index import LayerFile, LayerIndex
from diffusion.text import N_, Text

log = logging.getLogger(__name__)
REFRESH_SECONDS: Final = 10.0  # between two looks into the folders
MAX_NAME: Final = 100  # characters
FORBIDDEN: Final = frozenset("<>:,/\\|{}`")  # in names: members could not write them
BAD_NAME: Final = N_("The name of this LoRA has characters that nobody can write in a prompt. Please tell the operator.")


@dataclass(frozen=True)
class Lora:
    """A LoRA that members can name, and what it was trained to show.

    ``problem`` is the sentence that says why the present model cannot use it.
    """

    name: str
    triggers: tuple[str, ...] = ()
    problem: Text | None = None


@dataclass(frozen=True)
class LoraFile:
    """A file that the present model can use, with its ``layers`` and ``metadata``.

    ``version`` changes with the file.
    """

    path: Path
    version: tuple[int, int]
    layers: tuple[LayerFile, ...]
    metadata: Mapping[str, str]

    @property
    def rank(self) -> int:
        """The largest rank of its layers."""
        return max(layer.rank for layer in self.layers)


class LoraCatalogue:
    """The LoRAs in ``folders`` for the model whose layers are in ``index``.

    A LoRA is named as its file, without the suffix. `refresh` reads the folders; the other methods are safe on the event loop.
    """

    def __init__(self, folders: Iterable[Path], index: LayerIndex) -> None:
        self._folders = tuple(folders)
        self._index = index
        self._lock = threading.Lock()
        self._refreshed = float("-inf")
        self._known: dict[Path, tuple[tuple[int, int], Lora, LoraFile | None]] = {}
        self.loras: Mapping[str, Lora] = MappingProxyType({})
        self._files: Mapping[str, LoraFile] = {}

    def file(self, name: str) -> LoraFile | None:
        """Return the file of a LoRA that the model can use."""
        return self._files.get(name)

    def refresh(self, seconds: float = REFRESH_SECONDS) -> None:
        """Look for new, changed and missing files, unless that was done ``seconds`` ago.

        Reads headers: call it in a thread.
        """
        with self._lock:
            if time.monotonic() - self._refreshed < seconds:
                return
            known = {path: self._read(path, version) for path, version in self._find()}
            loras: dict[str, Lora] = {}
            files: dict[str, LoraFile] = {}
            for path, (_, lora, file) in known.items():
                if lora.name in loras:
                    log.warning("there are several LoRAs named %s; %s is not used", lora.name, path)
                    continue
                loras[lora.name] = lora
                if file:
                    files[lora.name] = file
            self._known, self._files, self.loras = known, files, MappingProxyType(dict(sorted(loras.items())))
            self._refreshed = time.monotonic()

    def _find(self) -> Iterable[tuple[Path, tuple[int, int]]]:
        """Yield the files in the folders and in theirs, in order, safetensors first."""
        found = []
        for folder in self._folders:
            for place, folders, names in os.walk(folder):
                folders[:] = sorted(each for each in folders if not each.startswith("."))
                paths = (Path(place, name) for name in sorted(names))
                found += [path for path in paths if path.suffix.lower() in (SUFFIX, *PICKLE_SUFFIXES)]
        for path in sorted(found, key=lambda path: path.suffix.lower() != SUFFIX):
            try:
                status = path.stat()
            except OSError:  # deleted meanwhile, or a link to nothing
                continue
            yield path, (status.st_mtime_ns, status.st_size)

    def _read(self, path: Path, version: tuple[int, int]) -> tuple[tuple[int, int], Lora, LoraFile | None]:
        before = self._known.get(path)
        if before and before[0] == version:
            return before
        name = " ".join(path.stem.split())
        triggers: tuple[str, ...] = ()
        try:
            if not name or len(name) > MAX_NAME or not FORBIDDEN.isdisjoint(name) or not name.isprintable():
                raise LoraError(Text(BAD_NAME))
            header = read_header(path)
            triggers = triggers_of(header.metadata)
            layers = tuple(self._index.match(name, header))
        except LoraError as error:
            log.warning("%s cannot be used: %s", path, error)
            return version, Lora(name[:MAX_NAME], triggers, error.problem), None
        return version, Lora(name, triggers), LoraFile(path, version, layers, header.metadata)


def parse_folders(setting: str) -> list[Path]:
    """Return the folders that the setting LORAS names, separated by commas.

    Raises `DarkroomError` for one that is missing.
    """
    folders = [Path(part) for part in filter(None, map(str.strip, setting.split(",")))]
    for folder in folders:
        if not folder.is_dir():
            raise DarkroomError("The setting LORAS is wrong: there is no folder {folder}.", folder=folder)
    return folders
