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
