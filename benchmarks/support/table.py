"""The table of figures: its rows, how they are measured, and the machine that measured them."""

import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"


@dataclass(frozen=True)
class Row:
    """A figure, the goal for it ("" for none), and what was measured or why nothing was."""

    figure: str
    goal: str
    measured: str


@dataclass(frozen=True)
class Scenario:
    """Rows that one function measures, by a command of ``python -m benchmarks``.

    ``figures`` are what its rows tell, with their goals, so that they have a row even if the function fails.
    """

    command: str
    figures: tuple[tuple[str, str], ...]
    measure: Callable[[], Sequence[str]]


def run(scenarios: Sequence[Scenario]) -> Iterator[tuple[Scenario, list[Row], float]]:
    """Measure ``scenarios`` one after another and yield each with its rows and its seconds.

    Each has a process of its own, so that threads and memory of one do not slow the next, and a crash is one row.
    """
    for scenario in scenarios:
        started = time.perf_counter()
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                measured = list(pool.submit(scenario.measure).result())
            except Exception as error:
                measured = [f"failed: {type(error).__name__}: {error}"] * len(scenario.figures)
        rows = [Row(figure, goal, value) for (figure, goal), value in zip(scenario.figures, measured, strict=True)]
        yield scenario, rows, time.perf_counter() - started


def machine() -> str:
    """Describe this machine and what computes on it."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    names = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 with bf16", "avx512_f": "AVX-512", "avx2": "AVX2"}
    best = next((name for key, name in names.items() if capabilities.get(key)), "neither AVX2 nor AMX")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{_cpu_name()}, {torch.get_num_threads()} threads, {best}, {gpu}; torch {torch.__version__}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def revision(folder: Path) -> str:
    """Return the commit of ``folder``, and whether files differ from it."""
    try:
        commit = _git(folder, "rev-parse", "--short", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "an unknown commit"
    return f"commit {commit}" + (" with changes" if changed else "")


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout.strip()


def render(parts: Sequence[tuple[Scenario, Sequence[Row]]], described: str) -> str:
    """Return the table as Markdown, below a line on where and when it was measured."""
    lines = [described, "", "| figure | goal | measured | by |", "|---|---|---|---|"]
    for scenario, rows in parts:
        lines += [f"| {row.figure} | {row.goal} | {row.measured} | `{scenario.command}` |" for row in rows]
    return "\n".join(lines)


def describe(folder: Path) -> str:
    """Return the line on where, when and on which commit."""
    return f"{machine()}. {datetime.now(UTC):%Y-%m-%d}, {revision(folder)}."


def replace_between_markers(text: str, content: str) -> str:
    """Return ``text`` with ``content`` between its markers; raises `ValueError` if it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the markers {BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"
