"""Find the GPUs that a million members need: ``python -m benchmarks.capacity``.

More and more simulated GPUs (`simulation`) serve the peak hour of a day (`trace`), until 95 % of the requests have all their
pictures within ten seconds, the limit of people's attention (Nielsen 1993, "Usability Engineering"). FIFO is a bot without
batching, round-robin is a proxy before several bots, and routing with batching is this bot. The simulation covers the hour in
full, with all members. Members neither give up nor get refused, however long they wait.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import quantiles

from benchmarks.capacity.costs import H200, latency_model
from benchmarks.capacity.simulation import WAYS, ServedRequest, Way, simulate
from benchmarks.capacity.trace import HOUR_SECONDS, MEMBERS, PEAK_HOUR, Arrival, Community
from diffusion.serving.latency import LatencyModel, Shape

GOAL_SECONDS = 10.0  # 95 % of the requests have their pictures within this time
COLOURS = {"shared queue": "tab:grey", "round-robin": "tab:orange", "routing": "tab:blue"}
EXTRA_POINTS = 2  # further numbers of GPUs to measure after the goal is met


@dataclass(frozen=True)
class Point:
    """The seconds from a request to its first step and to all its pictures."""

    gpus: int
    start_p50: float
    start_p95: float
    wait_p50: float
    wait_p95: float

    @classmethod
    def of(cls, gpus: int, served: Sequence[ServedRequest]) -> "Point":
        """Compute the median and 95th percentile of all ``served`` requests."""
        start = quantiles([each.start_delay for each in served], n=20)
        wait = quantiles([each.total_wait for each in served], n=20)
        return cls(gpus, start_p50=start[9], start_p95=start[18], wait_p50=wait[9], wait_p95=wait[18])


def latent_shape(width: int, height: int) -> Shape:
    """Return the shape of Stable Diffusion's latents."""
    return (1, 4, height // 8, width // 8)


def minimum_gpus(trace: Sequence[Arrival], way: Way, latency: LatencyModel, max_rows: int) -> float:
    """Return the GPUs that would be always busy if every network call were full."""
    busy_seconds = 0.0
    for arrival in trace:
        rows = 2 if arrival.request.guidance_scale > 1 else 1
        call_rows = max_rows if way.batching else rows
        seconds = latency.seconds(latent_shape(arrival.request.width, arrival.request.height), call_rows) or 0.0
        busy_seconds += arrival.request.count * arrival.request.evaluations * seconds * rows / call_rows
    return busy_seconds / (trace[-1].at - trace[0].at)


def measure(trace: Sequence[Arrival], way: Way, latency: LatencyModel, max_rows: int, gpus: Sequence[int]) -> Iterator[Point]:
    """Serve ``trace`` with each number of ``gpus``, by default until the goal is met."""
    good_points = 0
    for number in gpus or count(max(1, math.floor(minimum_gpus(trace, way, latency, max_rows)))):
        point = Point.of(number, simulate(trace, way, number, latency, latent_shape, max_rows))
        yield point
        good_points += point.wait_p95 <= GOAL_SECONDS
        if not gpus and good_points > EXTRA_POINTS:
            return


def plot_waits(points_by_way: dict[Way, list[Point]], path: Path) -> None:
    """Plot the waits against the number of GPUs, with a line for each way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=110, layout="constrained")
    p95_axes, p50_axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, field, title in ((p95_axes, "wait_p95", "95 % of the requests"), (p50_axes, "wait_p50", "half of the requests")):
        for way, points in points_by_way.items():
            gpus = [point.gpus for point in points]
            seconds = [getattr(point, field) for point in points]
            style = "o-" if way.batching else "o--"
            axes.plot(gpus, seconds, style, color=COLOURS[way.assignment], markersize=4, label=way.name)
        axes.axhline(GOAL_SECONDS, color="black", linewidth=0.8, linestyle=":")
        axes.set(xlabel="GPUs", yscale="log", title=f"{title} have their pictures within")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    p95_axes.set_ylabel("seconds (dotted: the goal)")
    p50_axes.legend()
    figure.savefig(path)


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--begin", type=float, default=PEAK_HOUR, help="hour of the day")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument(
        "--gpus", type=int, nargs="+", default=[], help="numbers of GPUs; more and more until the goal is met if left out"
    )
    parser.add_argument(
        "--ways", nargs="+", choices=range(len(WAYS)), type=int, default=range(len(WAYS)), help="numbers of the ways to compare"
    )
    parser.add_argument("--max-rows", type=int, default=16, help="most rows of a network call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="file for a plot of the waits")
    options = parser.parse_args()
    trace = list(Community(options.members, seed=options.seed).trace(options.begin, options.begin + options.hours))
    latency = latency_model(H200)
    points_by_way = {WAYS[number]: list[Point]() for number in options.ways}
    pictures = sum(arrival.request.count for arrival in trace)
    print(f"{options.members} members, {options.hours:g} h from {options.begin:g} o'clock, seed {options.seed}:", end=" ")
    print(f"{len(trace)} requests, {pictures} pictures, {pictures / options.hours / HOUR_SECONDS:.1f} a second")
    print(f"{'':28} GPUs   first step p50      p95   pictures p50      p95")
    for way, points in points_by_way.items():
        for point in measure(trace, way, latency, options.max_rows, options.gpus):
            points.append(point)
            cells = f"{point.start_p50:14.2f} s {point.start_p95:6.1f} s {point.wait_p50:12.2f} s {point.wait_p95:6.1f} s"
            print(f"{way.name:28} {point.gpus:4} {cells}", flush=True)
    for way, points in points_by_way.items():
        sufficient = [point.gpus for point in points if point.wait_p95 <= GOAL_SECONDS]
        needed = f"{min(sufficient)} GPUs" if sufficient else "more GPUs"
        bound = minimum_gpus(trace, way, latency, options.max_rows)
        print(f"{way.name:28} {needed} for 95 % within {GOAL_SECONDS:g} s; {bound:.1f} at least")
    if options.figure:
        plot_waits(points_by_way, options.figure)
