"""Decode pictures of strangers, each in a sandboxed process of its own."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import PIL
from PIL import Image

from cogs.core.messages.decode_protocol import BrokenReplyError, read_reply
from diffusion.errors import InvalidImageError
from diffusion.images.decoding import MAX_PIXELS, DecodedImage
from diffusion.images.io import to_png
from diffusion.text import N_

log = logging.getLogger(__name__)
# The largest picture takes about two processor seconds and half a gigabyte.
CPU_SECONDS = 6
MEMORY_BYTES = 2**30
WAIT_SECONDS = 30.0  # for other pictures and for this one
MAX_RETURNED_PIXELS: Final = 2**22  # larger pictures are scaled down: more than any request draws
SANDBOX: Final = Path(__file__).with_name("decode_sandbox.py")
IMPORT_PATHS: Final = (str(Path(__file__).parents[3]), str(Path(PIL.__file__).parents[1]))
THREADS: Final = ThreadPoolExecutor(2, "decoder")  # two pictures at a time
PROCESS_OPTIONS: dict[str, Any] = {
    "stdin": subprocess.PIPE,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.DEVNULL,
    "env": {},
    "process_group": 0,  # Ctrl+C in a terminal does not reach it
}
if sys.platform == "win32":
    PROCESS_OPTIONS |= {
        "env": {"SYSTEMROOT": os.environ["SYSTEMROOT"]},  # where Windows finds its libraries
        "process_group": None,
        "creationflags": subprocess.BELOW_NORMAL_PRIORITY_CLASS,
    }
TOO_BUSY: Final = N_("Too many pictures are being read at the moment. Please try again in a minute.")
TOO_HEAVY: Final = N_("The picture takes too much time or memory to be read. Please save it again and attach that.")
_reported: set[str] = set()


async def decode_sandboxed(data: bytes) -> DecodedImage:
    """Decode a file in a process of its own.

    Raises `InvalidImageError` if that takes too much time or memory, or if the file is no picture.
    """
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            return await asyncio.get_running_loop().run_in_executor(THREADS, decode_in_process, data)
    except TimeoutError:
        raise InvalidImageError(TOO_BUSY) from None


def decode_in_process(data: bytes) -> DecodedImage:
    """Do the same, and wait. Call it in a thread."""
    limits = map(str, (CPU_SECONDS, MEMORY_BYTES, MAX_PIXELS, MAX_RETURNED_PIXELS))
    command = [sys.executable, "-I", "-S", str(SANDBOX), *limits, *IMPORT_PATHS]
    with subprocess.Popen(command, **PROCESS_OPTIONS) as process:
        assert process.stdin
        assert process.stdout
        timer = threading.Timer(4 * CPU_SECONDS, process.kill)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended early; the missing reply says so
                process.stdin.write(data)
                process.stdin.close()
            picture, guards = read_reply(process.stdout, MAX_PIXELS, MAX_RETURNED_PIXELS)
        except BrokenReplyError:
            raise InvalidImageError(TOO_HEAVY) from None
        finally:
            timer.cancel()
            process.kill()
    _report(guards)
    return picture


def check_decoding() -> None:
    """Log which guards confine the decoding, or that it does not work. Call it in a thread."""
    try:
        decode_in_process(to_png(Image.new("RGB", (1, 1))))
    except InvalidImageError:
        log.error("the process that decodes pictures does not start, so the bot refuses every attached picture: %s", SANDBOX)


def _report(guards: list[str]) -> None:
    """Log once which guards confine the process."""
    names = ", ".join(["empty environment", *guards])
    if names not in _reported:
        _reported.add(names)
        log.info("pictures are decoded in processes with these guards: %s", names)
