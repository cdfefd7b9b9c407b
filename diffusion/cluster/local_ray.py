"""Ray on this machine alone: who reaches it, and how it ends."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Collection
from typing import Final

import psutil

LOOPBACK: Final = "127.0.0.1"
ENVIRONMENT: Final = {
    "RAY_AUTH_MODE": "token",  # without the token, no process of another user can have Ray run code
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # otherwise Ray takes the machine's public address for 127.0.0.1
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "50",  # after 5 s, Serve would kill the proxy of a busy machine and give up
}
HEAD: Final = ("gcs_server", "raylet")  # processes that Ray does not live without
CHECK_SECONDS: Final = 1.0
SHUTDOWN_SECONDS: Final = 60.0  # then Ray's processes are killed


def prepare_environment() -> None:
    """Let Ray listen on `LOOPBACK` alone and ask for its token. Call it before Ray is imported."""
    os.environ.update(ENVIRONMENT)


def wait_until_stopped(processes: Collection[psutil.Process]) -> bool:
    """Wait for SIGTERM or Ctrl+C; return False if Ray's ``processes`` ended before."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    head = [child for child in processes if _name(child).startswith(HEAD)]
    while not stopped.wait(CHECK_SECONDS):
        if not all(_is_alive(process) for process in head):
            return False
    return True


def shut_down(orderly: Callable[[], object], processes: Collection[psutil.Process], seconds: float = SHUTDOWN_SECONDS) -> None:
    """Call ``orderly`` and kill those of ``processes`` that have not ended after ``seconds``.

    Without its head, Ray waits for ever.
    """
    thread = threading.Thread(target=orderly, daemon=True)
    thread.start()
    thread.join(seconds)
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it has ended, and its number may belong to another process
            process.kill()


def child_processes() -> list[psutil.Process]:
    """Return all processes that this one has started, and theirs."""
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return ""


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
