"""Run a program as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments, **environment):
    settings = {name: value for name, value in os.environ.items() if name != "DISCORD_TOKEN"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=settings | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def user_with(cache):
    """Return what runs a command with the ``cache`` of downloads of its own."""

    def start(*arguments, **environment):
        own = {"HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}
        return run(*arguments, **own | environment)

    return start
