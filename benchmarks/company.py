"""Many requests of different kinds at once, against one after another: ``python -m benchmarks.company``.

The same requests, of mixed samplers, steps (10 to 50), guidance scales and sizes, go to this engine, to this engine held to one
picture at a time, and to diffusers' own pipeline, one after another in the order of their coming. First all come at once, then
as a Poisson stream that is as much more than diffusers can serve as ``--load`` says, with the same times for all three. The
figures are pictures a second, how long the requests waited (median and 95th percentile), and how long those of 10 steps did.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles

import torch

from benchmarks.alone import pipeline_of, thread_of
from benchmarks.support.shaped_models import SHAPES, model_for
from diffusion import Engine, EngineConfig, ImageRequest
from diffusion.families.model import ImageModel
from diffusion.sampling.samplers import SAMPLERS
from diffusion.serving.worker_thread import WorkerThread

SHORT = 10  # steps of the requests that should not wait for the others
WAYS = ("engine", "single", "diffusers")  # this engine, held to one picture at a time, diffusers' pipeline
Serve = Callable[[ImageRequest], Awaitable[object]]


@dataclass
class Round:
    """How a round went: its seconds, and how long each request took."""

    seconds: float
    waits: list[float]
    short: list[float]

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return len(self.waits) / self.seconds


def mixed(model: ImageModel, count: int, seed: int) -> list[ImageRequest]:
    """Draw requests as members make them; a quarter are short."""
    chance, side = random.Random(seed), model.sample_side
    return [
        model.request(
            f"{chance.choice(('red', 'blue', 'green'))} apple",
            sampler=chance.choice([*SAMPLERS]),
            steps=SHORT if index % 4 == 3 else chance.randint(20, 50),
            guidance_scale=chance.choice((1.0, 3.0, 7.5)),
            width=chance.choice((side, side, side * 3 // 2)),
            height=side,
            seed=index,
        )
        for index in range(count)
    ]


async def served(serve: Serve, requests: Sequence[ImageRequest], times: Sequence[float]) -> Round:
    """Send each of ``requests`` at its time and wait for all."""

    async def one(request: ImageRequest, at: float) -> float:
        await asyncio.sleep(at)
        asked = time.perf_counter()
        await serve(request)
        return time.perf_counter() - asked

    began = time.perf_counter()
    waits = await asyncio.gather(*map(one, requests, times))
    short = [wait for wait, request in zip(waits, requests, strict=True) if request.steps == SHORT]
    return Round(time.perf_counter() - began, waits, short)


def by_diffusers(model: ImageModel, thread: WorkerThread) -> Serve:
    """Serve with diffusers' pipelines, of the very networks of ``model``, first come, first served, in ``thread``."""
    turn, pipelines = asyncio.Lock(), {sampler: pipeline_of(model, sampler) for sampler in SAMPLERS}

    async def serve(request: ImageRequest) -> object:
        async with turn:
            call = partial(
                pipelines[request.sampler],
                request.prompt,
                height=request.height,
                width=request.width,
                num_inference_steps=request.steps,
                guidance_scale=request.guidance_scale,
                generator=torch.Generator().manual_seed(request.seed),
            )
            return await asyncio.get_running_loop().run_in_executor(thread, call)

    return serve


def by_engine(engine: Engine) -> Serve:
    """Serve with ``engine``, each request from a member of its own."""
    return lambda request: engine.submit(request, owner=request.seed)


async def measure(model: ImageModel, count: int, load: float, repeats: int, rows: int | None, names: Sequence[str]) -> None:
    """Serve everything ``repeats`` times in turns, in the ways ``names``, and print the medians."""
    everything = EngineConfig(max_rows=rows, max_waiting=10 * count)
    single = EngineConfig(max_rows=1, max_waiting=10 * count)  # what is larger than that runs alone
    async with Engine(model, everything) as engine, Engine(model, single) as one_by_one:
        thread = one_by_one._worker = thread_of(engine)
        served_by = dict(zip(WAYS, (by_engine(engine), by_engine(one_by_one), by_diffusers(model, thread)), strict=True))
        ways = {name: served_by[name] for name in names}
        for serve in ways.values():
            await served(serve, mixed(model, 4, 0), [0.0] * 4)  # warm up
        print(f"{model.name}, {model.dtype}, {model.device}, {count} requests, median of {repeats} rounds in turns")
        at_once: dict[str, list[Round]] = {name: [] for name in ways}
        for round_ in range(repeats):
            for name, serve in ways.items():
                at_once[name].append(await served(serve, mixed(model, count, round_), [0.0] * count))
        tell("all at once", at_once)
        if not load:
            return
        gap = 1 / (load * median(each.rate for each in at_once["diffusers"]))
        stream: dict[str, list[Round]] = {name: [] for name in ways}
        for round_ in range(repeats):
            chance = random.Random(round_)
            times = [0.0]
            while len(times) < count:
                times.append(times[-1] + chance.expovariate(1 / gap))
            for name, serve in ways.items():
                stream[name].append(await served(serve, mixed(model, count, round_), times))
        tell(f"a Poisson stream of {1 / gap:.2f} a second, {load:g} times what diffusers can serve", stream)


def tell(title: str, rounds: dict[str, list[Round]]) -> None:
    """Print a table, its ratios against diffusers."""

    def figures(name: str) -> tuple[float, ...]:
        waits, short = ([wait for each in rounds[name] for wait in getattr(each, kind)] for kind in ("waits", "short"))
        late, late_short = (quantiles(times, n=20, method="inclusive")[-1] for times in (waits, short))
        return median(each.rate for each in rounds[name]), median(waits), late, late_short

    against = figures("diffusers")
    print(title)
    print(f"  {'':14} {'pictures/s':>16} {'median wait':>18} {'p95':>18} {f'p95 of {SHORT} steps':>18}")
    for name in rounds:
        cells = (f"{ours:8.2f} ({ours / theirs:5.2f}x)" for ours, theirs in zip(figures(name), against, strict=True))
        print(f"  {name:14} " + " ".join(f"{cell:>18}" for cell in cells))


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.company", description=__doc__)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--load", type=float, default=1.5, help="of the stream; 0: none")
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, help="of a call of the network; the engine finds out if left out")
    parser.add_argument("--compile", action="store_true", help="this engine's UNet, as COMPILE=true does")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of a published shape instead")
    options = parser.parse_args()
    model = model_for(options.model, options.shape, options.compile)
    asyncio.run(measure(model, options.count, options.load, options.repeats, options.rows, options.ways))


if __name__ == "__main__":
    main()
