"""Serve mixed requests batched and one by one: ``python -m benchmarks.company``.

The same requests, with mixed samplers, steps (10 to 50), guidance scales and sizes, go to this engine, to this engine limited
to one picture at a time, and to diffusers' pipeline, first come, first served. First all requests come at once. Then they
come as a Poisson stream, at ``--load`` times the rate that diffusers can serve and at the same times for all three. The output
is pictures per second, the wait of all requests (median and 95th percentile) and the wait of the requests with 10 steps.
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

from benchmarks.alone import build_pipeline, worker_thread
from benchmarks.support.shaped_models import SHAPES, model_for
from diffusion import Engine, EngineConfig, ImageRequest
from diffusion.families.model import ImageModel
from diffusion.sampling.samplers import SAMPLERS
from diffusion.serving.worker_thread import WorkerThread

SHORT_STEPS = 10  # requests with so few steps should not wait for the others
WAYS = ("engine", "single", "diffusers")  # this engine, held to one picture at a time, diffusers' pipeline
Serve = Callable[[ImageRequest], Awaitable[object]]


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
    """Draw ``count`` random requests; a quarter of them are short."""
    rng = random.Random(seed)
    side = model.sample_side
    return [
        model.request(
            f"{rng.choice(('red', 'blue', 'green'))} apple",
            sampler=rng.choice([*SAMPLERS]),
            steps=SHORT_STEPS if index % 4 == 3 else rng.randint(20, 50),
            guidance_scale=rng.choice((1.0, 3.0, 7.5)),
            width=rng.choice((side, side, side * 3 // 2)),
            height=side,
            seed=index,
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


def serve_with_pipelines(model: ImageModel, thread: WorkerThread) -> Serve:
    """Serve with diffusers' pipelines, one request at a time, in ``thread``."""
    lock = asyncio.Lock()
    pipelines = {sampler: build_pipeline(model, sampler) for sampler in SAMPLERS}

    async def serve(request: ImageRequest) -> object:
        async with lock:
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


def serve_with_engine(engine: Engine) -> Serve:
    """Serve with ``engine``; each request has an owner of its own."""
    return lambda request: engine.submit(request, owner=request.seed)


async def measure(model: ImageModel, count: int, load: float, repeats: int, rows: int | None, names: Sequence[str]) -> None:
    """Serve ``repeats`` rounds in each of the ways ``names`` and print the medians."""
    batching = EngineConfig(max_rows=rows, max_waiting=10 * count)
    single = EngineConfig(max_rows=1, max_waiting=10 * count)  # a request of two rows runs alone
    async with Engine(model, batching) as engine, Engine(model, single) as one_by_one:
        one_by_one._worker = engine._worker
        thread = worker_thread(engine)
        ways_by_name = dict(
            zip(
                WAYS,
                (serve_with_engine(engine), serve_with_engine(one_by_one), serve_with_pipelines(model, thread)),
                strict=True,
            )
        )
        ways = {name: ways_by_name[name] for name in names}
        for serve in ways.values():
            await serve_all(serve, mixed_requests(model, 4, 0), [0.0] * 4)  # warm up
        print(f"{model.name}, {model.dtype}, {model.device}, {count} requests, median of {repeats} rounds in turns")
        at_once: dict[str, list[Round]] = {name: [] for name in ways}
        for number in range(repeats):
            for name, serve in ways.items():
                at_once[name].append(await serve_all(serve, mixed_requests(model, count, number), [0.0] * count))
        print_table("all at once", at_once)
        if not load:
            return
        gap = 1 / (load * median(each.rate for each in at_once["diffusers"]))
        stream: dict[str, list[Round]] = {name: [] for name in ways}
        for number in range(repeats):
            rng = random.Random(number)
            times = [0.0]
            while len(times) < count:
                times.append(times[-1] + rng.expovariate(1 / gap))
            for name, serve in ways.items():
                stream[name].append(await serve_all(serve, mixed_requests(model, count, number), times))
        print_table(f"a Poisson stream of {1 / gap:.2f} a second, {load:g} times what diffusers can serve", stream)


def print_table(title: str, rounds: dict[str, list[Round]]) -> None:
    """Print the medians of ``rounds`` and their ratios to diffusers, or else to the first way."""

    def figures(name: str) -> tuple[float, ...]:
        waits, short_waits = (
            [wait for each in rounds[name] for wait in getattr(each, kind)] for kind in ("waits", "short_waits")
        )
        p95, p95_short = (quantiles(times, n=20, method="inclusive")[-1] for times in (waits, short_waits))
        return median(each.rate for each in rounds[name]), median(waits), p95, p95_short

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
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, help="most rows of a network call; the engine chooses if left out")
    parser.add_argument("--compile", action="store_true", help="compile this engine's UNet, as COMPILE=true does")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--shape", choices=SHAPES, help="use random weights of a published shape")
    options = parser.parse_args()
    if options.load and "diffusers" not in options.ways:
        parser.error("the rate of the stream is measured against diffusers: add it to --ways, or give --load 0")
    model = model_for(options.model, options.shape, options.compile)
    asyncio.run(measure(model, options.count, options.load, options.repeats, options.rows, options.ways))


if __name__ == "__main__":
    main()
