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


@dataclass(frozen=True)
class NamedFile:
    """The file ``path`` of a LoRA that members know by ``name``."""

    path: Path
    name: str


Source = Path | NamedFile  # a folder, or a file outside of the folders


class LoraCatalogue:
    """The LoRAs in ``sources`` for the model whose layers are in ``index``.

    A LoRA in a folder is named as its file, without the suffix. `refresh` reads the folders; the other methods are safe on the
    event loop.
    """

    def __init__(self, sources: Iterable[Source], index: LayerIndex) -> None:
        self._sources = tuple(sources)
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
            if 0 <= time.monotonic() - self._refreshed < seconds:
                return
            known = {file.path: self._read(file, version) for file, version in self._find()}
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

    def _find(self) -> Iterable[tuple[NamedFile, tuple[int, int]]]:
        """Yield the files of the sources, those in the folders of folders too, in order, safetensors first."""
        found = []
        for folder in self._sources:
            if isinstance(folder, NamedFile):
                found.append(folder)
                continue
            for place, folders, names in os.walk(folder):
                folders[:] = sorted(each for each in folders if not each.startswith("."))
                paths = (Path(place, name) for name in sorted(names))
                files = (path for path in paths if path.suffix.lower() in (SUFFIX, *PICKLE_SUFFIXES))
                found += [NamedFile(path, " ".join(path.stem.split())) for path in files]
        for file in sorted(found, key=lambda file: file.path.suffix.lower() != SUFFIX):
            try:
                status = file.path.stat()
            except OSError:  # deleted meanwhile, or a link to nothing
                continue
            yield file, (status.st_mtime_ns, status.st_size)

    def _read(self, file: NamedFile, version: tuple[int, int]) -> tuple[tuple[int, int], Lora, LoraFile | None]:
        path, name = file.path, file.name
        before = self._known.get(path)
        if before and before[0] == version:
            return before
        triggers: tuple[str, ...] = ()
        try:
            if not name or len(name) > MAX_NAME or not FORBIDDEN.isdisjoint(name) or not name.isprintable():
                raise LoraError(Text(BAD_NAME))
            header = read_header(path, name)
            triggers = triggers_of(header.metadata)
            layers = tuple(self._index.match(name, header))
        except LoraError as error:
            log.warning("%s cannot be used: %s", path, error)
            return version, Lora(name[:MAX_NAME], triggers, error.problem), None
        return version, Lora(name, triggers), LoraFile(path, version, layers, header.metadata)
