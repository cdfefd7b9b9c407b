"""Measure all figures of this machine and write them into the README: ``python -m benchmarks``.

It takes up to 15 minutes on two cores. Nothing else should compute meanwhile. Each row comes from the function of a benchmark,
whose command shows more.
"""

import argparse
from pathlib import Path

from benchmarks.scenarios import SCENARIOS
from benchmarks.support.table import describe, render, replace_between_markers, run

README = Path(__file__).with_name("README.md")


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    commands = [scenario.command for scenario in SCENARIOS]
    parser.add_argument("--only", nargs="+", choices=commands, help="measure these alone, and write nothing")
    parser.add_argument("--print", action="store_true", dest="prints", help="write nothing")
    options = parser.parse_args()
    chosen = [scenario for scenario in SCENARIOS if not options.only or scenario.command in options.only]
    parts = []
    total = 0.0
    for scenario, rows, seconds in run(chosen):
        parts.append((scenario, rows))
        total += seconds
        print(f"{scenario.command} ({seconds:.0f} s)")
        for row in rows:
            print(f"  {row.figure}: {row.measured}" + (f" (goal: {row.goal})" if row.goal else ""), flush=True)
    print(f"{total / 60:.1f} minutes")
    if not options.only and not options.prints:
        table = render(parts, describe(README.parents[1]))
        README.write_text(replace_between_markers(README.read_text("utf-8"), table), "utf-8")
        print(f"written to {README}")


if __name__ == "__main__":
    main()
