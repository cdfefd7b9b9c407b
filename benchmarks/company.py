"""Serve mixed requests batched and one by one: ``python -m benchmarks.company``.

The same requests, with mixed samplers, steps (10 to 50), guidance scales (throughout) and sizes, go to this engine, to this
engine limited to one picture at a time, and to diffusers' pipeline, first come, first served. With ``--compile``, this engine
compiles its networks, and they also go to a pipeline that calls those same compiled networks. First all requests come at once.
Then they come as a Poisson stream, at ``--load`` times the rate that diffusers can serve and at the same times for all. The
output is pictures per second, the wait of all requests (median and 95th percentile) and the wait of the requests with 10 steps.
"""

import argparse
import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks.alone import draw_same
from benchmarks.support.pipelines import build_pipeline, worker_thread
from benchmarks.support.shaped_models import SHAPES, model_for
from diffusion import Engine, EngineConfig, ImageRequest
from diffusion.families.model import ImageModel
from diffusion.sampling.samplers import SAMPLERS
from diffusion.serving.worker_thread import WorkerThread

WARM_UP, STREAM = 1000, 2000  # seeds of requests; those that come at once begin at 0
SHORT_STEPS = 10  # requests with so few steps should not wait for the others
# This engine, held to one picture at a time, diffusers' pipeline, and that with the engine's compiled networks.
WAYS = ("engine", "single", "diffusers", "compiled")
Serve = Callable[[ImageRequest], Awaitable[object]]
Rounds = dict[str, list["Round"]]  # by the name of the way


@dataclass(frozen=True)
class Models:
    """The model of the engine, and the same for diffusers' eager pipeline, which nothing has compiled."""

    engine: ImageModel
    eager: ImageModel


@dataclass
class Round:
    """The seconds of a round and of each of its requests."""

    seconds: float
    waits: list[float]
    short_waits: list[float]

    @property
    def rate(self) -> float:
        """Pictures per second."""
        return len(self.waits) / self.seconds


def mixed_requests(model: ImageModel, count: int, seed: int) -> list[ImageRequest]:
    """Draw ``count`` random requests; a quarter of them are short.

    Another ``seed`` gives other pictures: of the same ones, the engine would go on from steps that it keeps.
    """
    rng = random.Random(seed)
    side = model.sample_side
    return [
        model.request(
            f"{rng.choice(('red', 'blue', 'green'))} apple",
            sampler=rng.choice([*SAMPLERS]),
            steps=SHORT_STEPS if index % 4 == 3 else rng.randint(20, 50),
            guidance_scale=rng.choice((1.0, 3.0, 7.5)),
            guidance_interval=(0.0, 1.0),  # as in diffusers' pipeline
            width=rng.choice((side, side, side * 3 // 2)),
            height=side,
            seed=count * seed + index,
        )
        for index in range(count)
    ]


async def serve_all(serve: Serve, requests: Sequence[ImageRequest], times: Sequence[float]) -> Round:
    """Send each of ``requests`` at its time and wait for all."""

    async def wait_for(request: ImageRequest, at: float) -> float:
        await asyncio.sleep(at)
        sent = time.perf_counter()
        await serve(request)
        return time.perf_counter() - sent

    started = time.perf_counter()
    waits = await asyncio.gather(*map(wait_for, requests, times))
    short_waits = [wait for wait, request in zip(waits, requests, strict=True) if request.steps == SHORT_STEPS]
    return Round(time.perf_counter() - started, waits, short_waits)


def serve_with_pipelines(model: ImageModel, thread: WorkerThread, *, compiled: bool = False) -> Serve:
    """Serve with diffusers' pipelines, one request at a time, in ``thread``."""
    lock = asyncio.Lock()
    pipelines = {sampler: build_pipeline(model, sampler, compiled=compiled) for sampler in SAMPLERS}

    async def serve(request: ImageRequest) -> object:
        async with lock:
            return await asyncio.get_running_loop().run_in_executor(thread, draw_same, pipelines[request.sampler], request)

    return serve


def serve_with_engine(engine: Engine) -> Serve:
    """Serve with ``engine``; each request has an owner of its own."""
    return lambda request: engine.submit(request, owner=request.seed)


@contextlib.asynccontextmanager
async def open_ways(models: Models, count: int, rows: int | None, names: Sequence[str]) -> AsyncIterator[dict[str, Serve]]:
    """Open the ways ``names`` to serve ``count`` requests, and warm them up."""
    model = models.engine
    batching = EngineConfig(max_rows=rows, max_waiting=10 * count)
    single = EngineConfig(max_rows=1, max_waiting=10 * count)  # a request of two rows runs alone
    async with Engine(model, batching) as engine, Engine(model, single) as one_by_one:
        one_by_one._worker = engine._worker
        thread = worker_thread(engine)
        makers: dict[str, Callable[[], Serve]] = {
            "engine": lambda: serve_with_engine(engine),
            "single": lambda: serve_with_engine(one_by_one),
            "diffusers": lambda: serve_with_pipelines(models.eager, thread),
            "compiled": lambda: serve_with_pipelines(model, thread, compiled=True),
        }
        ways = {name: makers[name]() for name in names}
        for name, serve in ways.items():
            # The engine's calls have many numbers of rows, and the first call of each takes longer.
            requests = mixed_requests(model, count, WARM_UP)[: count if name == "engine" else 4]
            await serve_all(serve, requests, [0.0] * len(requests))
        yield ways


async def serve_at_once(ways: Mapping[str, Serve], model: ImageModel, count: int, repeats: int) -> Rounds:
    """Send ``count`` requests at once, ``repeats`` times to each of ``ways`` in turns."""
    rounds: Rounds = {name: [] for name in ways}
    for number in range(repeats):
        for name, serve in ways.items():
            rounds[name].append(await serve_all(serve, mixed_requests(model, count, number), [0.0] * count))
    return rounds


async def serve_stream(ways: Mapping[str, Serve], model: ImageModel, *, count: int, repeats: int, rate: float) -> Rounds:
    """Send ``count`` requests as a Poisson stream of ``rate`` a second, ``repeats`` times to each of ``ways`` in turns."""
    rounds: Rounds = {name: [] for name in ways}
    for number in range(repeats):
        rng = random.Random(number)
        times = [0.0]
        while len(times) < count:
            times.append(times[-1] + rng.expovariate(rate))
        for name, serve in ways.items():
            rounds[name].append(await serve_all(serve, mixed_requests(model, count, STREAM + number), times))
    return rounds


async def measure(models: Models, count: int, repeats: int, names: Sequence[str]) -> Rounds:
    """Return the rounds of each of the ways ``names`` with all requests at once."""
    async with open_ways(models, count, None, names) as ways:
        return await serve_at_once(ways, models.engine, count, repeats)


async def print_rounds(models: Models, options: argparse.Namespace) -> None:
    """Print the rounds with all requests at once, then those with the stream."""
    count, repeats = options.count, options.repeats
    model = models.engine
    async with open_ways(models, count, options.rows, options.ways) as ways:
        print(f"{model.name}, {model.dtype}, {model.device}, {count} requests, median of {repeats} rounds in turns")
        at_once = await serve_at_once(ways, model, count, repeats)
        print_table("all at once", at_once)
        if options.load:
            rate = options.load * rate_of(at_once["diffusers"])
            stream = await serve_stream(ways, model, count=count, repeats=repeats, rate=rate)
            title = f"a Poisson stream of {rate:.2f} a second, {options.load:g} times what diffusers can serve"
            print_table(title, stream)


def rate_of(rounds: Sequence[Round]) -> float:
    """Return the median of the pictures per second."""
    return median(each.rate for each in rounds)


def p95_of_short(rounds: Sequence[Round]) -> float:
    """Return the seconds within which 95 % of the requests with 10 steps are done."""
    return _p95([wait for each in rounds for wait in each.short_waits])


def _p95(times: Sequence[float]) -> float:
    return quantiles(times, n=20, method="inclusive")[-1]


def print_table(title: str, rounds: Rounds) -> None:
    """Print the medians of ``rounds`` and their ratios to diffusers, or else to the first way."""

    def figures(name: str) -> tuple[float, ...]:
        waits = [wait for each in rounds[name] for wait in each.waits]
        return rate_of(rounds[name]), median(waits), _p95(waits), p95_of_short(rounds[name])

    compared_with = "diffusers" if "diffusers" in rounds else next(iter(rounds))
    others = figures(compared_with)
    print(f"{title}, compared with {compared_with}")
    print(f"  {'':14} {'pictures/s':>16} {'median wait':>18} {'p95':>18} {f'p95 of {SHORT_STEPS} steps':>18}")
    for name in rounds:
        cells = (f"{ours:8.2f} ({ours / theirs:5.2f}x)" for ours, theirs in zip(figures(name), others, strict=True))
        print(f"  {name:14} " + " ".join(f"{cell:>18}" for cell in cells))


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.company", description=__doc__)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--load", type=float, default=1.5, help="rate of the stream, in what diffusers can serve; 0: no stream")
    parser.add_argument("--ways", choices=WAYS, nargs="+", help="all that there are, if left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, help="most rows of a network call; the engine chooses if left out")
    parser.add_argument("--compile", action="store_true", help="compile the networks, as COMPILE=true does")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--shape", choices=SHAPES, help="use random weights of a published shape")
    options = parser.parse_args()
    options.ways = options.ways or [name for name in WAYS if options.compile or name != "compiled"]
    if options.load and "diffusers" not in options.ways:
        parser.error("the rate of the stream is measured against diffusers: add it to --ways, or give --load 0")
    if "compiled" in options.ways and not options.compile:
        parser.error("nothing is compiled: add --compile, or leave compiled out of --ways")
    engine = model_for(options.model, options.shape, options.compile)
    eager = model_for(options.model, options.shape) if options.compile else engine
    asyncio.run(print_rounds(Models(engine, eager), options))


if __name__ == "__main__":
    main()
