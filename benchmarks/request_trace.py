"""Count the functions of one /imagine: ``python -m benchmarks.request_trace``.

The bot runs in a simulated Discord with the embedded model. The count includes the distinct named functions of this project
that run on the event loop's thread between the command and the delivered picture. It leaves out the engine
(`diffusion.serving`, `diffusion.sampling` and `diffusion.families`) with the functions that only the engine calls, the
background tasks that run before the command, and the simulation.
"""

import argparse
import asyncio
import inspect
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from bot import Darkroom, open_service
from cogs.core.config import Config
from cogs.core.simulator.browser import simulated

ROOT = Path(__file__).parent.parent
ENGINE = ("diffusion/serving/", "diffusion/sampling/", "diffusion/families/")
LEFT_OUT = (*ENGINE, "cogs/core/simulator", "benchmarks/", "tests/")
UNNAMED = ("<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>", "<lambda>")
WARM_UP = {"prompt": "a red circle", "steps": 2}
OPTIONS = {"prompt": "a blue square", "steps": 2}
TIMEOUT_SECONDS = 120.0


class Trace:
    """Records which functions of this project run on this thread while it is open."""

    def __init__(self) -> None:
        self.codes: set[CodeType] = set()
        self._daemons: set[CodeType | None] = set()  # coroutines that ran before

    def __enter__(self) -> "Trace":
        self._daemons = {getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()}
        sys.setprofile(self._record)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _record(self, frame: FrameType, event: str, _: object) -> None:
        is_called_by_others = frame.f_back is not None and _file(frame.f_back.f_code).startswith(LEFT_OUT)
        if event == "call" and not is_called_by_others and frame.f_code not in self._daemons:
            self.codes.add(frame.f_code)

    def functions(self) -> dict[str, list[str]]:
        """Return the names of the recorded functions by file."""
        found = defaultdict(set)
        for code in self.codes:
            file = _file(code)
            if file and not file.startswith(LEFT_OUT) and code.co_name not in UNNAMED:
                found[file].add(code.co_qualname.replace(".<locals>", ""))
        return {file: sorted(found[file]) for file in sorted(found)}


def _file(code: CodeType) -> str:
    """Return the path below the project's root, or "" for a file of another project."""
    path = code.co_filename.removeprefix(f"{ROOT}/")
    return "" if path.startswith(("/", "<", ".")) else path


async def request(env: Any, member: Any, channel: Any, **options: Any) -> None:
    """Use /imagine and wait until its pictures are delivered."""
    await member.slash(channel, "imagine", **options)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while env.bot.service.background:
            await asyncio.sleep(0.02)


async def trace() -> dict[str, list[str]]:
    """Return the functions that the second /imagine of a bot calls, by file."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_service(Config(_env_file=None), Path(folder)) as service, simulated(service, Darkroom) as env:
            guild = env.create_guild()
            channel = guild.create_text_channel("art")
            member = guild.add_member(env.create_user("alice"))
            await request(env, member, channel, **WARM_UP)
            with Trace() as recorder:
                await request(env, member, channel, **OPTIONS)
    return recorder.functions()


def main() -> None:
    """Print how many functions and files one /imagine goes through."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(sys.modules[__name__]))
    parser.add_argument("--list", action="store_true", help="print every function by file")
    shows_list = parser.parse_args().list
    functions = asyncio.run(trace())
    if shows_list:
        for file, names in functions.items():
            print(file)
            for name in names:
                print(f"    {name}")
    print(f"one /imagine: {sum(map(len, functions.values()))} functions in {len(functions)} files")


if __name__ == "__main__":
    main()
