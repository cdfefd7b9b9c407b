"""Measure the gain of replicas and Ray's cost: ``python -m benchmarks.scale``.

The first model's step is a timed sleep, so that a few cores can stand for many GPUs. The second is the embedded model on the
available cores. Each replica serves twice as many members as fit into a network call; each member requests the next picture as
soon as the last one is there. All compared numbers come from the same run, which visits the replica counts forwards and
backwards in turn.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import socket
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, NoReturn

from torch import Tensor

from diffusion import Engine, EngineConfig, ImageRequest, load_model
from diffusion.cluster.app import Deployed, build_application
from diffusion.cluster.options import ApplicationOptions
from diffusion.cluster.remote import RemoteEngine, load
from diffusion.families.model import ImageModel
from diffusion.sampling.conditions import Conditions

HOST = "127.0.0.1"
SECRET = "benchmark"  # of replicas that only this command reaches
STEP_SECONDS = 0.25  # about one step of Stable Diffusion for a few pictures on a GPU
SIDE_PIXELS = 32  # small, so that everything except the step hardly takes time
MEAN_STEPS = 10  # members request different numbers, or all pictures would end at once
STEPS_SPREAD = 5
ROWS = 8
FEW_STEPS = 5  # two numbers of steps separate the cost of a request from that of a step
MANY_STEPS = 30


def with_timed_steps(model: ImageModel) -> ImageModel:
    """Replace the network of ``model`` by a sleep that ignores the batch."""

    def predict(latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        time.sleep(STEP_SECONDS)
        return 0.1 * latents.float()

    model.predict_noise = predict  # type: ignore[method-assign]
    return model


class TimedReplica(Deployed):
    """A replica of the timed model."""

    async def __init__(self, options: dict[str, Any]) -> None:  # type: ignore[misc]
        await super().__init__(options)
        with_timed_steps(self.engine.model)


@contextlib.contextmanager
def deploy(kind: type[Deployed], replica_counts: list[int], url: str) -> Iterator[dict[int, Any]]:
    """Deploy ``kind`` with each of ``replica_counts`` replicas and yield their models."""
    from ray import serve

    names = {replicas: f"{kind.__name__}-{replicas}" for replicas in replica_counts}
    for replicas, name in names.items():
        options = ApplicationOptions(replicas=replicas, cpus=0.1, max_rows=ROWS, max_waiting=1000, secret=SECRET)
        serve.run(build_application(options, kind), name=name, route_prefix=f"/{name}")
    yield {replicas: load(url, name, SECRET)[0] for replicas, name in names.items()}
    for name in names.values():
        serve.delete(name)


def build_request(model: Any, seed: int, steps: int, side: int | None) -> ImageRequest:
    """Build a request for a square picture, by default of the model's own side."""
    request: ImageRequest = model.request("red apple", seed=seed, steps=steps, sampler="ddim", width=side, height=side)
    return request


async def images_per_second(model: Any, members: int, seconds: float, side: int | None) -> float:
    """Return images/s over ``seconds``, after half as long to fill the replicas."""
    ended: list[float] = []
    seeds = itertools.count()  # no picture twice, as the engine would go on from steps that it keeps

    async def use(member: int) -> NoReturn:
        while True:
            steps = MEAN_STEPS - STEPS_SPREAD // 2 + (member + len(ended)) % STEPS_SPREAD
            await engine.submit(build_request(model, next(seeds), steps, side), member)
            ended.append(time.perf_counter())

    async with RemoteEngine(model, EngineConfig(max_waiting=10_000)) as engine:
        tasks = [asyncio.create_task(use(member)) for member in range(members)]
        await asyncio.sleep(1.5 * seconds)
        now = time.perf_counter()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(result, asyncio.CancelledError):  # a failed member must not pass for a slow one
                raise result
    return sum(now - seconds < end <= now for end in ended) / seconds


async def scaling(models: dict[int, Any], repeats: int, seconds: float, side: int | None) -> None:
    """Print images/s for each number of replicas and its ratio to linear scaling."""
    rates: dict[int, list[float]] = {replicas: [] for replicas in models}
    for repeat in range(repeats):
        for replicas in list(models)[:: -1 if repeat % 2 else 1]:
            rates[replicas].append(await images_per_second(models[replicas], ROWS * replicas, seconds, side))
    one = median(rates[1])
    for replicas, measured in rates.items():
        median_rate = median(measured)
        speedup = median_rate / one
        print(f"  {replicas} replicas  {median_rate:6.2f} images/s  {speedup:.2f}x one, {speedup / replicas:.2f} of linear")


async def overhead(model: Any, repeats: int) -> None:
    """Print the seconds that Ray adds to each request and to each step."""
    durations: dict[tuple[str, int], list[float]] = {}
    async with RemoteEngine(model) as remote, Engine(with_timed_steps(load_model())) as local:
        for repeat in range(repeats + 1):  # the first round warms up
            for steps in (FEW_STEPS, MANY_STEPS):
                for name, engine in (("here", local), ("Ray", remote)):
                    started = time.perf_counter()
                    await engine.submit(build_request(model, repeat, steps, SIDE_PIXELS))
                    durations.setdefault((name, steps), []).append(time.perf_counter() - started)
    seconds = {key: median(measured[1:]) for key, measured in durations.items()}
    few_overhead, many_overhead = (seconds["Ray", steps] - seconds["here", steps] for steps in (FEW_STEPS, MANY_STEPS))
    for steps in (FEW_STEPS, MANY_STEPS):
        print(f"  {steps} steps: {seconds['here', steps]:.3f} s here, {seconds['Ray', steps]:.3f} s through Ray")
    step_ms = 1000 * (many_overhead - few_overhead) / (MANY_STEPS - FEW_STEPS)
    request_ms = 1000 * few_overhead - FEW_STEPS * step_ms
    print(f"  Ray costs {request_ms:.0f} ms per request and {step_ms:.2f} ms per step of {1000 * STEP_SECONDS:g} ms")


def main() -> None:
    """Start a cluster on this machine alone and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[2, 4], help="numbers of replicas to compare with one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--only", choices=["timed", "embedded"])
    options = parser.parse_args()
    replica_counts = sorted({1, *options.replicas})
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import serve

    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port = listener.getsockname()[1]
    ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=8, _node_ip_address=HOST)
    serve.start(proxy_location="HeadOnly", http_options={"host": HOST, "port": port})
    url = f"http://{HOST}:{port}"
    try:
        if options.only != "embedded":
            with deploy(TimedReplica, replica_counts, url) as models:
                print(f"one picture, {STEP_SECONDS:g} s per step", flush=True)
                asyncio.run(overhead(models[1], options.repeats))
                print(f"about {MEAN_STEPS} steps of {STEP_SECONDS:g} s, {ROWS} rows a call", flush=True)
                asyncio.run(scaling(models, options.repeats, options.seconds, SIDE_PIXELS))
        if options.only != "timed":
            with deploy(Deployed, replica_counts, url) as models:
                print(f"embedded model, about {MEAN_STEPS} steps, {os.cpu_count()} cores, one per replica", flush=True)
                asyncio.run(scaling(models, options.repeats, options.seconds, None))
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
