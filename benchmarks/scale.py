"""How much faster several replicas are than one, and what Ray costs: ``python -m benchmarks.scale``.

Once with a model whose step is a timed sleep, so that a few cores can stand for many GPUs, and once with the embedded model on
the cores there are. What is compared comes from the same run; the order of the numbers of replicas turns round from one repeat
to the next.
"""

import argparse
import asyncio
import os
import socket
import time
from statistics import median
from typing import Any

from diffusion import Engine, EngineConfig, ImageDiffusionModel, ImageRequest
from diffusion.cluster.app import Deployed, Options, build
from diffusion.cluster.remote import RemoteEngine, load

HOST = "127.0.0.1"
SLEEP = 0.05  # seconds a step of the timed model takes, about one of Stable Diffusion on a GPU
WARM = 2  # pictures a replica makes before anything is timed


def sleeping(model: ImageDiffusionModel) -> ImageDiffusionModel:
    """Let a step of ``model`` be a sleep, whatever stands in its batch, and its other networks do next to nothing."""

    def predict(latents: Any, timesteps: Any, prompt_embeds: Any) -> Any:
        time.sleep(SLEEP)
        return 0.1 * latents.float()

    model.predict_noise = predict  # type: ignore[method-assign]
    return model


class Timed(Deployed):
    """A replica of the timed model."""

    async def __init__(self, options: dict[str, Any]) -> None:  # type: ignore[misc]
        await super().__init__(options)  # type: ignore[misc]
        sleeping(self.engine.model)


def requests(model: Any, count: int, steps: int, side: int | None) -> list[ImageRequest]:
    """Ask for ``count`` pictures of different seeds."""
    settings: dict[str, Any] = {"steps": steps, "sampler": "ddim", "width": side, "height": side}
    return [model.request("red apple", seed=seed, **settings) for seed in range(count)]


async def rate(engine: Any, asked: list[ImageRequest]) -> float:
    """Give images/s while ``asked`` are made for as many members."""
    began = time.perf_counter()
    await asyncio.gather(*(engine.submit(request, owner) for owner, request in enumerate(asked)))
    return len(asked) / (time.perf_counter() - began)


def deploy(kind: type[Deployed], replicas: int, rows: int, cpus: float) -> None:
    """Serve ``replicas`` of it, and wait until they run."""
    from ray import serve

    options = Options(replicas=replicas, cpus=cpus, max_rows=rows, max_waiting=1000)
    serve.run(build(options, kind), name="scale", route_prefix="/scale")


async def scaling(kind: type[Deployed], options: argparse.Namespace, url: str, steps: int, side: int | None) -> None:
    """Print images/s with each number of replicas, over that with one, and how far that is from linear."""
    rates: dict[int, list[float]] = {replicas: [] for replicas in options.replicas}
    for repeat in range(options.repeats):
        for replicas in options.replicas[:: -1 if repeat % 2 else 1]:
            await asyncio.to_thread(deploy, kind, replicas, options.rows, 0.1)
            model, _ = await asyncio.to_thread(load, url, "scale")
            async with RemoteEngine(model, EngineConfig(max_waiting=10_000)) as engine:
                await rate(engine, requests(model, WARM * replicas, steps, side))
                rates[replicas].append(await rate(engine, requests(model, options.pictures * replicas, steps, side)))
    one = median(rates[1])
    print(f"{kind.__name__}: {steps} steps, {options.rows} rows a call, {options.pictures} pictures a replica at once")
    for replicas, measured in rates.items():
        speed = median(measured)
        print(f"  {replicas} replicas  {speed:6.2f} images/s  {speed / one:.2f}x one, {speed / one / replicas:.2f} of linear")


async def overhead(options: argparse.Namespace, url: str) -> None:
    """Print what a step, and what a request, takes longer through Ray than in the bot's own process."""
    local = sleeping(ImageDiffusionModel.from_pretrained())
    await asyncio.to_thread(deploy, Timed, 1, options.rows, 0.1)
    model, _ = await asyncio.to_thread(load, url, "scale")
    seconds: dict[tuple[str, int], list[float]] = {}
    async with RemoteEngine(model) as remote, Engine(local) as own:
        for _ in range(options.repeats + 1):
            for steps in (10, 60):
                asked = requests(model, 1, steps, 32)
                for name, engine in (("own", own), ("remote", remote)):
                    seconds.setdefault((name, steps), []).append(1 / await rate(engine, asked))
    taken = {key: median(measured[1:]) for key, measured in seconds.items()}
    few, many = (taken["remote", steps] - taken["own", steps] for steps in (10, 60))
    print(f"one picture of 10 steps of {SLEEP:g} s: {taken['own', 10]:.3f} s here, {taken['remote', 10]:.3f} s through Ray")
    print(f"one picture of 60 steps: {taken['own', 60]:.3f} s here, {taken['remote', 60]:.3f} s through Ray")
    print(f"Ray costs {1000 * few:.0f} ms a request and {1000 * (many - few) / 50:.2f} ms a step")


def main() -> None:
    """Read the command line, start a cluster on this machine alone and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--rows", type=int, default=16)
    options = parser.parse_args()
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
        asyncio.run(overhead(options, url))
        asyncio.run(scaling(Timed, options, url, 20, 32))
        asyncio.run(scaling(Deployed, options, url, 20, None))
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
