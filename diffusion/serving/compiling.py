"""Compiles a model in the background, so that pictures are drawn meanwhile."""

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import torch

from diffusion.backends.compiled_cache import CompiledCache
from diffusion.backends.openvino import is_installed
from diffusion.config import Compile
from diffusion.errors import DarkroomError
from diffusion.families.compiled import LARGE_WEIGHTS
from diffusion.families.model import ImageModel
from diffusion.loading.memory import available_bytes, float32_bytes
from diffusion.redaction import redact

log = logging.getLogger(__name__)
PACKAGE_FOLDER: Final = Path(__file__).parents[2]
COPIES: Final = 3  # of the networks in float32 that compiling holds at once, in all processes
USUAL_COPIES: Final = 2  # besides, of networks that are compiled for the usual shapes, too
LAST_CHARACTERS: Final = 400  # of what a compiling process wrote, that the log repeats


class BackgroundCompiling:
    """Compiles ``model`` in a thread, and what is not in the cache in a process of low priority.

    The process keeps the interpreter of this one free: tracing a network holds it for seconds. ``wanted`` is `EngineConfig`'s
    setting. If compiling fails, the log says why and the model goes on as it is.
    """

    def __init__(self, model: ImageModel, wanted: Compile) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self.done = threading.Event()
        threading.Thread(target=self._run, args=(model, wanted), name="compiling", daemon=True).start()

    def close(self) -> None:
        """Stop the process, if it is still at work."""
        with self._lock:
            self._is_closed = True
            if self._process:
                self._process.kill()

    def _run(self, model: ImageModel, wanted: Compile) -> None:
        began = time.perf_counter()
        name = model.name
        try:
            if reason := why_not(model, wanted):
                log.info("%s is drawn uncompiled: %s", name, reason)
                return
            with tempfile.TemporaryDirectory(prefix="darkroom-", ignore_cleanup_errors=True) as spare:
                cache = CompiledCache()
                if not cache.is_writable():
                    cache = CompiledCache(Path(spare))
                if wanted == "auto" or (model.device.type == "cpu" and is_installed()):
                    self._fill(model, cache)
                if self._is_closed:
                    return
                model.compile(cache, by_torch=wanted is True)
        except (DarkroomError, OSError) as error:
            log.warning("%s could not be compiled and goes on as it is: %s", name, error)
        except Exception:
            if not self._is_closed:
                log.exception("%s could not be compiled and goes on as it is", name)
        else:
            log.info("%s compiled in %.0f s: %s", name, time.perf_counter() - began, model.speed)
        finally:
            self.done.set()

    def _fill(self, model: ImageModel, cache: CompiledCache) -> None:
        """Compile in a process of low priority what ``cache`` lacks; raises `ChildProcessError`."""
        origin = model.origin
        if origin is None or model.is_cached(cache):
            return
        command = [sys.executable, "-m", "diffusion.serving.compile_process", str(cache.folder), origin.source]
        command += ["--dtype", str(model.dtype).removeprefix("torch."), "--threads", str(torch.get_num_threads())]
        command += ["--vae", origin.vae] if origin.vae else []
        search_path = os.pathsep.join(filter(None, (str(PACKAGE_FOLDER), os.environ.get("PYTHONPATH"))))
        with self._lock:
            if self._is_closed:
                return
            self._process = subprocess.Popen(
                command,
                env=os.environ | {"PYTHONPATH": search_path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                creationflags=getattr(subprocess, "IDLE_PRIORITY_CLASS", 0),  # Windows; elsewhere the process lowers its own
            )
        said, _ = self._process.communicate()
        if self._process.returncode and not self._is_closed:
            reason = redact(said.strip()[-LAST_CHARACTERS:]) or f"its process ended with {self._process.returncode}"
            raise ChildProcessError(reason)


def why_not(model: ImageModel, wanted: Compile) -> str:
    """Return why ``model`` is not compiled though it is ``wanted``, or an empty text."""
    if not model.family.is_static:
        return "its calls unpack or move its weights to save memory."
    if wanted is True:
        return ""
    if model.device.type != "cpu":
        return "CUDA graphs serve this device without waiting." if model.device.type == "cuda" else "only CPUs gain by it."
    weights = float32_bytes(model)
    needed = (COPIES + (USUAL_COPIES if weights < 4 * LARGE_WEIGHTS else 0)) * weights
    free = available_bytes()
    if needed > free:
        return f"compiling takes up to {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free."
    return ""
