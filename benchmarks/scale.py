"""How much faster several replicas are than one, and what Ray costs: ``python -m benchmarks.scale``.

Once with a model whose step is a timed sleep, so that a few cores can stand for many GPUs, and once with the embedded model on
the cores there are. Twice as many members as a call of the network has room for ask each replica, again as soon as they have
their picture. What is compared comes from the same run, and turns come round and back.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, NoReturn

from torch import Tensor

from diffusion import Engine, EngineConfig, ImageRequest, load_model
from diffusion.cluster.app import Deployed, Options, build_application
from diffusion.cluster.remote import RemoteEngine, load
from diffusion.families.model import ImageModel
from diffusion.sampling.conditions import Conditions

HOST = "127.0.0.1"
SLEEP = 0.25  # seconds a step of the timed model takes, about one of Stable Diffusion for a few pictures on a GPU
SIDE = 32  # pixels of its pictures, so that what else there is to do hardly counts
STEPS = 10  # on average: members ask for different numbers, or their pictures would all end at once
SPREAD = 5
ROWS = 8
FEW, MANY = 5, 30  # steps of two pictures, which tell what a request costs from what a step does


def sleeping(model: ImageModel) -> ImageModel:
    """Let a step of ``model`` be a sleep, whatever stands in its batch."""

    def predict(latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        time.sleep(SLEEP)
        return 0.1 * latents.float()

    model.predict_noise = predict  # type: ignore[method-assign]
    return model


class Timed(Deployed):
    """A replica of the timed model."""

    async def __init__(self, options: dict[str, Any]) -> None:  # type: ignore[misc]
        await super().__init__(options)
        sleeping(self.engine.model)


@contextlib.contextmanager
def served(kind: type[Deployed], numbers: list[int], url: str) -> Iterator[dict[int, Any]]:
    """Serve ``kind`` by each of ``numbers`` replicas, side by side, and give what each takes."""
    from ray import serve

    names = {replicas: f"{kind.__name__}-{replicas}" for replicas in numbers}
    for replicas, name in names.items():
        options = Options(replicas=replicas, cpus=0.1, max_rows=ROWS, max_waiting=1000)
        serve.run(build_application(options, kind), name=name, route_prefix=f"/{name}")
    yield {replicas: load(url, name)[0] for replicas, name in names.items()}
    for name in names.values():
        serve.delete(name)


def request(model: Any, seed: int, steps: int, side: int | None) -> ImageRequest:
    """Ask for a picture, in the model's own size unless it is told."""
    made: ImageRequest = model.request("red apple", seed=seed, steps=steps, sampler="ddim", width=side, height=side)
    return made


async def rate(model: Any, members: int, seconds: float, side: int | None) -> float:
    """Return images/s over ``seconds``, after half as many in which the replicas are filled."""
    ended: list[float] = []

    async def ask(member: int) -> NoReturn:
        while True:
            steps = STEPS - SPREAD // 2 + (member + len(ended)) % SPREAD
            await engine.submit(request(model, member + len(ended), steps, side), member)
            ended.append(time.perf_counter())

    async with RemoteEngine(model, EngineConfig(max_waiting=10_000)) as engine:
        asking = [asyncio.create_task(ask(member)) for member in range(members)]
        await asyncio.sleep(1.5 * seconds)
        now = time.perf_counter()
        for task in asking:
            task.cancel()
        for result in await asyncio.gather(*asking, return_exceptions=True):
            if not isinstance(result, asyncio.CancelledError):  # or a member who failed would count as one who is slow
                raise result
    return sum(now - seconds < end <= now for end in ended) / seconds


async def scaling(models: dict[int, Any], repeats: int, seconds: float, side: int | None) -> None:
    """Print images/s with each number of replicas, over that with one, and how far that is from linear."""
    rates: dict[int, list[float]] = {replicas: [] for replicas in models}
    for repeat in range(repeats):
        for replicas in list(models)[:: -1 if repeat % 2 else 1]:
            rates[replicas].append(await rate(models[replicas], ROWS * replicas, seconds, side))
    one = median(rates[1])
    for replicas, measured in rates.items():
        speed = median(measured)
        print(f"  {replicas} replicas  {speed:6.2f} images/s  {speed / one:.2f}x one, {speed / one / replicas:.2f} of linear")


async def overhead(model: Any, repeats: int) -> None:
    """Print what a step, and what a request, takes longer through Ray than in the bot's own process."""
    taken: dict[tuple[str, int], list[float]] = {}
    async with RemoteEngine(model) as remote, Engine(sleeping(load_model())) as own:
        for repeat in range(repeats + 1):  # the first warms up
            for steps in (FEW, MANY):
                for name, engine in (("here", own), ("Ray", remote)):
                    began = time.perf_counter()
                    await engine.submit(request(model, repeat, steps, SIDE))
                    taken.setdefault((name, steps), []).append(time.perf_counter() - began)
    seconds = {key: median(measured[1:]) for key, measured in taken.items()}
    few, many = (seconds["Ray", steps] - seconds["here", steps] for steps in (FEW, MANY))
    for steps in (FEW, MANY):
        print(f"  {steps} steps: {seconds['here', steps]:.3f} s here, {seconds['Ray', steps]:.3f} s through Ray")
    a_step = (many - few) / (MANY - FEW)
    print(
        f"  Ray costs {1000 * (few - FEW * a_step):.0f} ms a request and {1000 * a_step:.2f} ms a step of {1000 * SLEEP:g} ms"
    )


def main() -> None:
    """Read the command line, start a cluster on this machine alone and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[2, 4], help="to be compared with one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--only", choices=["timed", "embedded"])
    options = parser.parse_args()
    numbers = sorted({1, *options.replicas})
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import serve

    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=8, _node_ip_address=HOST)
    serve.start(proxy_location="HeadOnly", http_options={"host": HOST, "port": port})
    url = f"http://{HOST}:{port}"
    try:
        if options.only != "embedded":
            with served(Timed, numbers, url) as models:
                print(f"one picture, {SLEEP:g} s a step", flush=True)
                asyncio.run(overhead(models[1], options.repeats))
                print(f"about {STEPS} steps of {SLEEP:g} s, {ROWS} rows a call", flush=True)
                asyncio.run(scaling(models, options.repeats, options.seconds, SIDE))
        if options.only != "timed":
            with served(Deployed, numbers, url) as models:
                print(f"embedded model, about {STEPS} steps, {os.cpu_count()} cores, one a replica", flush=True)
                asyncio.run(scaling(models, options.repeats, options.seconds, None))
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
