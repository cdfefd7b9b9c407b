"""Compiled networks on disk, so that only the first start of a model compiles."""

import hashlib
import json
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

log = logging.getLogger(__name__)
SUM_BYTES: Final = hashlib.sha256().digest_size  # of the checksum at the end of each file
KEPT_DAYS: Final = 60  # since a file was last used
UNWRITABLE: Final = "compiled networks cannot be kept in %s, so the next start compiles them again: %s"
LIBRARIES: Final = ("torch", "diffusers", "transformers", "openvino")


def cache_folder() -> Path:
    """Return the folder for what can be made again: that of the user, or a temporary one for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else "")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "darkroom"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "darkroom"


class CompiledCache:
    """Files by their keys, each with a checksum; a damaged one counts as missing.

    Several processes may share ``folder``. What cannot be written is logged and made again at the next start. Without
    ``takes_guesses``, speeds that were measured beside other work count as missing, too.
    """

    def __init__(self, folder: Path | None = None, *, takes_guesses: bool = True) -> None:
        self.takes_guesses = takes_guesses
        self.folder = folder or cache_folder() / "compiled"

    def is_writable(self) -> bool:
        """Whether files can be kept; if not, the log says why."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                return True
        except OSError as error:
            log.warning(UNWRITABLE, self.folder, error)
            return False

    def read(self, key: str) -> "np.ndarray[Any, Any] | None":
        """Return the bytes of ``key``, mapped into memory; None if they are missing or damaged."""
        path = self._path(key)
        try:
            data = np.memmap(path, np.uint8, "c")  # what is mapped has to be writable, and the file stays as it is
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            log.warning("%s cannot be read (%s), so the network is compiled again", path, error)
            return None
        content = data[:-SUM_BYTES]
        if hashlib.sha256(content.data).digest() != data[-SUM_BYTES:].tobytes():
            log.warning("%s is damaged, so the network is compiled again", path)
            return None
        with suppress(OSError):  # of another user
            os.utime(path)
        return content

    def write(self, key: str, content: bytes | memoryview) -> bool:
        """Keep ``content`` under ``key``; return whether that was possible."""
        path = self._path(key)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._forget_unused()
            with partial.open("wb") as file:
                file.write(content)
                file.write(hashlib.sha256(content).digest())
            partial.replace(path)
        except OSError as error:
            log.warning(UNWRITABLE, self.folder, error)
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            return False
        return True

    def read_json(self, key: str) -> Any:
        """Return the value of ``key``, or None."""
        content = self.read(key)
        with suppress(ValueError):
            return None if content is None else json.loads(content.tobytes())
        return None

    def write_json(self, key: str, value: Any) -> None:
        """Keep ``value`` under ``key``."""
        self.write(key, json.dumps(value).encode())

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.bin"

    def _forget_unused(self) -> None:
        oldest = time.time() - KEPT_DAYS * 24 * 3600
        for path in [*self.folder.glob("*.bin"), *self.folder.glob("*.partial")]:
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def fingerprint(networks: Iterable[nn.Module], *circumstances: object) -> str:
    """Return a key for ``networks`` with their weights, ``circumstances``, this machine and the versions of the libraries."""
    digest = hashlib.sha256(repr((circumstances, _machine(), _versions())).encode())
    for network in networks:
        digest.update(repr(sorted(_config(network).items())).encode())
        for name, tensor in network.state_dict().items():
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def _config(network: nn.Module) -> dict[str, str]:
    """Return the configuration of ``network`` without where it was loaded from."""
    config: Any = getattr(network, "config", None)
    return {name: str(value) for name, value in dict(config or {}).items() if not name.startswith("_")}


def _versions() -> tuple[str, ...]:
    found = [platform.python_version()]
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return tuple(found)


def _machine() -> tuple[object, ...]:
    """Return what tells this machine's processor from others, and how many threads calls use."""
    processor = platform.processor()
    with suppress(OSError):  # of other systems than Linux
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        processor = "\n".join(
            sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
        )
    return platform.machine(), processor, os.cpu_count(), torch.get_num_threads()
