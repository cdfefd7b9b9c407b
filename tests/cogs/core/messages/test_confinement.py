"""What a process can still do once it is confined; the decoding of pictures happens in one."""

import json
import os
import subprocess
import sys

import pytest

from cogs.core.messages.confinement import NICENESS
from cogs.core.messages.decode_process import IMPORT_PATHS, PROCESS_OPTIONS

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these guards")
PROGRAM = """
import ctypes, json, os, signal, socket, sys
sys.path[:0] = sys.argv[1:3]
from cogs.core.messages.confinement import confine

def attempt(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    except MemoryError:
        return "MemoryError"
    return "done"

niceness = []
nice = os.nice
os.nice = lambda more: niceness.append(nice(more))
guards = confine(5, 2**28)
attempts = {
    "read a file": lambda: open("/etc/hostname"),
    "write a file": lambda: open(sys.argv[3], "w"),
    "list a folder": lambda: os.listdir("/"),
    "open a socket": lambda: socket.socket(),
    "open a local socket": lambda: socket.socket(socket.AF_UNIX),
    "start a process": lambda: os.fork() or os._exit(0),
    "become another program": lambda: os.execv("/bin/true", ["true"]),
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "look into the parent": lambda: open(f"/proc/{os.getppid()}/environ"),
    "take memory": lambda: bytearray(2**29),
}
outcomes = {name: attempt(action) for name, action in attempts.items()}
print(json.dumps({"guards": guards, "outcomes": outcomes, "environment": dict(os.environ), "niceness": niceness[0]}))
"""


@pytest.fixture(scope="module")
def confined(tmp_path_factory):
    """What a confined process says about itself."""
    before = os.environ.get("DISCORD_TOKEN")
    os.environ["DISCORD_TOKEN"] = "secret"
    try:
        command = [sys.executable, "-I", "-S", "-c", PROGRAM, *IMPORT_PATHS, str(tmp_path_factory.mktemp("out") / "file")]
        options = PROCESS_OPTIONS | {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        ended = subprocess.run(command, check=False, **options)
    finally:
        os.environ.pop("DISCORD_TOKEN")
        if before is not None:
            os.environ["DISCORD_TOKEN"] = before
    assert ended.returncode == 0, ended.stderr.decode()
    return json.loads(ended.stdout)


@LINUX_ONLY
def test_confined_process_can_only_compute(confined):
    print(f"\nguards: {', '.join(confined['guards'])}")
    for name, outcome in confined["outcomes"].items():
        print(f"{name}: {outcome}")
    assert "limits" in confined["guards"] and confined["outcomes"].pop("take memory") == "MemoryError"
    if not {"seccomp", "Landlock"} <= set(confined["guards"]):
        pytest.skip("this kernel lacks Landlock or seccomp")
    assert "done" not in confined["outcomes"].values()


def test_confined_process_inherits_no_environment(confined):
    assert "DISCORD_TOKEN" not in confined["environment"] and len(confined["environment"]) <= 2


@LINUX_ONLY
def test_confine_lowers_the_priority(confined):
    assert confined["niceness"] >= min(os.nice(0) + NICENESS, 19)
