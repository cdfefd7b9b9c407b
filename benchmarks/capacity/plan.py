"""How many GPUs a community of a million members needs, by how they share the work: ``python -m benchmarks.capacity``.

The peak hour of a day (`trace`) is served in simulated time (`simulation`) by more and more GPUs, until 95 % of the requests
have all their pictures within ten seconds, as long as people keep their mind on what they asked for (Nielsen 1993, "Usability
Engineering"). One after another in the order of coming is what a bot without batching does; round-robin is what a proxy before
several bots does; routing and batching are this one's. GPUs are counted for the peak: the hour is simulated in full, with all
members, and nothing is thinned. Requests come as they come, however long others wait: nobody gives up, nothing is refused.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import quantiles

from benchmarks.capacity.costs import H200, pace_of
from benchmarks.capacity.simulation import WAYS, Served, Way, simulate
from benchmarks.capacity.trace import HOUR, MEMBERS, PEAK, Asked, Community
from diffusion.serving.latency import LatencyModel, Shape

GOAL = 10.0  # seconds within which 95 % have their pictures
COLOURS = {"whichever is free": "tab:grey", "each in turn": "tab:orange", "the chosen one": "tab:blue"}
BEYOND = 2  # further numbers of GPUs, to see what they are good for


@dataclass(frozen=True)
class Point:
    """Seconds from asking to the first step and to all pictures, the median and what 95 % do not exceed."""

    gpus: int
    begun: float
    begun_late: float
    wait: float
    late: float

    @classmethod
    def of(cls, gpus: int, served: Sequence[Served]) -> "Point":
        """Sum up what became of all requests."""
        twentieths = [quantiles(times, n=20) for times in ([each.begun for each in served], [each.wait for each in served])]
        return cls(gpus, *(times[index] for times in twentieths for index in (9, 18)))


def latent_shape(width: int, height: int) -> Shape:
    """Return the shape of Stable Diffusion's latents."""
    return (1, 4, height // 8, width // 8)


def least(trace: Sequence[Asked], way: Way, pace: LatencyModel, max_rows: int) -> float:
    """Return how many GPUs would be busy all the time, had each call of the network as many rows as it can have."""
    busy = 0.0
    for asked in trace:
        rows = 2 if asked.request.guidance_scale > 1 else 1
        together = max_rows if way.batching else rows
        seconds = pace.seconds(latent_shape(asked.request.width, asked.request.height), together) or 0.0
        busy += asked.request.count * asked.request.evaluations * seconds * rows / together
    return busy / (trace[-1].at - trace[0].at)


def measure(trace: Sequence[Asked], way: Way, pace: LatencyModel, max_rows: int, gpus: Sequence[int]) -> Iterator[Point]:
    """Serve ``trace`` with each number of ``gpus``; where there are none, with more and more until `GOAL` is held."""
    beyond = 0
    for number in gpus or count(max(1, math.floor(least(trace, way, pace, max_rows)))):
        point = Point.of(number, simulate(trace, way, number, pace, latent_shape, max_rows))
        yield point
        beyond += point.late <= GOAL
        if not gpus and beyond > BEYOND:
            return


def draw(found: dict[Way, list[Point]], path: Path) -> None:
    """Draw the waits against the GPUs, a line for each way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=110, layout="constrained")
    late, median = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, name, title in ((late, "late", "95 % of the requests"), (median, "wait", "half of the requests")):
        for way, points in found.items():
            gpus = [point.gpus for point in points]
            seconds, style = [getattr(point, name) for point in points], "o-" if way.batching else "o--"
            axes.plot(gpus, seconds, style, color=COLOURS[way.to], markersize=4, label=way.name)
        axes.axhline(GOAL, color="black", linewidth=0.8, linestyle=":")
        axes.set(xlabel="GPUs", yscale="log", title=f"{title} have their pictures within")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    late.set_ylabel("seconds (dotted: the goal)")
    median.legend()
    figure.savefig(path)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--begin", type=float, default=PEAK, help="hour of the day")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--gpus", type=int, nargs="+", default=[], help="as many as needed if left out")
    parser.add_argument("--ways", nargs="+", choices=range(len(WAYS)), type=int, default=range(len(WAYS)), help="by number")
    parser.add_argument("--max-rows", type=int, default=16, help="of a call of the network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="where to draw the waits")
    options = parser.parse_args()
    trace = list(Community(options.members, seed=options.seed).trace(options.begin, options.begin + options.hours))
    pace, found = pace_of(H200), {WAYS[number]: list[Point]() for number in options.ways}
    pictures = sum(asked.request.count for asked in trace)
    print(f"{options.members} members, {options.hours:g} h from {options.begin:g} o'clock, seed {options.seed}:", end=" ")
    print(f"{len(trace)} requests, {pictures} pictures, {pictures / options.hours / HOUR:.1f} a second")
    print(f"{'':28} GPUs   first step p50      p95   pictures p50      p95")
    for way, points in found.items():
        for point in measure(trace, way, pace, options.max_rows, options.gpus):
            points.append(point)
            cells = f"{point.begun:14.2f} s {point.begun_late:6.1f} s {point.wait:12.2f} s {point.late:6.1f} s"
            print(f"{way.name:28} {point.gpus:4} {cells}", flush=True)
    for way, points in found.items():
        enough = [point.gpus for point in points if point.late <= GOAL]
        needed = f"{min(enough)} GPUs" if enough else "more GPUs"
        print(f"{way.name:28} {needed} for 95 % within {GOAL:g} s; {least(trace, way, pace, options.max_rows):.1f} at least")
    if options.figure:
        draw(found, options.figure)
