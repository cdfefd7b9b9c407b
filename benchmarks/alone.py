"""Compare one picture with diffusers' pipeline and other engines: ``python -m benchmarks.alone``.

All take turns in one process with the same weights, precision, sampler, steps, size and guidance throughout. Each time includes
text encoder and decoder. The result is the ratio of median times. With ``--compile``, this engine compiles its networks,
and diffusers' pipeline is also measured with those same compiled networks. ``--peers`` adds OpenVINO GenAI and
stable-diffusion.cpp, where ``openvino-genai`` and ``cyllama`` are installed. With ``--defaults`` engine and pipeline use their
own defaults: the engine those of the model, the pipeline 50 steps, here of DDIM.
"""

import argparse
import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from benchmarks.support import peers
from benchmarks.support.pipelines import build_pipeline, worker_thread
from benchmarks.support.shaped_models import SHAPES, model_for
from diffusion import Engine, ImageRequest
from diffusion.families.model import ImageModel
from diffusion.sampling.samplers import SAMPLERS
from diffusion.serving.worker_thread import WorkerThread

ENGINE = "engine"
EAGER = "diffusers"
COMPILED = "diffusers, compiled alike"
WARM_UP_STEPS = 2
Draw = Callable[[ImageRequest], object]


@dataclass(frozen=True)
class Alone:
    """The median seconds of a picture by who drew it; ``missing`` says why others could not."""

    seconds: Mapping[str, float]
    missing: Mapping[str, str] = field(default_factory=dict)

    def ratio(self, other: str) -> float:
        """Return the engine's time as a share of the time of ``other``."""
        return self.seconds[ENGINE] / self.seconds[other]


def draw_with(pipeline: StableDiffusionPipeline, request: ImageRequest, **settings: Any) -> object:
    """Draw ``request`` with diffusers' ``pipeline``; further ``settings`` of the pipeline come as they are."""
    generator = torch.Generator().manual_seed(request.seed)
    return pipeline(request.prompt, height=request.height, width=request.width, generator=generator, **settings)


def draw_same(pipeline: StableDiffusionPipeline, request: ImageRequest) -> object:
    """Draw ``request`` with its own steps and guidance."""
    return draw_with(pipeline, request, num_inference_steps=request.steps, guidance_scale=request.guidance_scale)


async def measure(
    model: ImageModel,
    settings: Mapping[str, Any],
    repeats: int,
    *,
    eager: ImageModel | None = None,
    with_peers: bool = False,
) -> Alone:
    """Time all ways ``repeats`` times in turns.

    ``settings`` are fields of `ImageRequest`; if empty, engine and pipeline use their own defaults. If ``model`` is compiled,
    ``eager`` is the same one uncompiled.
    """
    others: dict[str, Draw] = {}
    missing: dict[str, str] = {}
    sampler = settings.get("sampler", "ddim")
    others[EAGER] = partial(draw_same if settings else draw_with, build_pipeline(eager or model, sampler))
    if eager and settings:
        others[COMPILED] = partial(draw_same, build_pipeline(model, sampler, compiled=True))
    with TemporaryDirectory(prefix="darkroom-") as folder:
        if with_peers:
            present, missing = peers.open_peers(eager or model, Path(folder))
            others |= present
        async with Engine(model) as engine:
            thread = worker_thread(engine)
            ways: dict[str, Callable[[ImageRequest], Awaitable[object]]] = {ENGINE: engine.submit}
            for name, draw in others.items():
                ways[name] = partial(_draw_in, thread, draw)
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for seed in range(repeats + 1):
                request = model.request(f"red apple {seed}", seed=seed, **settings)
                if not seed:  # the first round warms up
                    request = request.replace(steps=min(request.steps, WARM_UP_STEPS))
                turns = deque(ways.items())
                turns.rotate(seed)  # so that no way always comes after the slowest, which empties the caches
                for name, way in turns:
                    started = time.perf_counter()
                    await way(request)
                    if seed:
                        seconds[name].append(time.perf_counter() - started)
    return Alone({name: median(each) for name, each in seconds.items()}, missing)


def _draw_in(thread: WorkerThread, draw: Draw, request: ImageRequest) -> Awaitable[object]:
    return asyncio.get_running_loop().run_in_executor(thread, draw, request)


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.alone", description=__doc__)
    parser.add_argument("--sampler", choices=SAMPLERS, default="dpm++")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--side", type=int, help="of the picture, in pixels; the model's own if left out")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="compile the networks, as COMPILE=true does")
    parser.add_argument("--peers", action="store_true", help=f"compare with {' and '.join(peers.PEERS)}; with --sampler euler")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--shape", choices=SHAPES, help="use random weights of a published shape")
    parser.add_argument("--defaults", action="store_true", help="use the defaults of each side")
    options = parser.parse_args()
    if options.peers and (options.sampler not in peers.SAMPLERS or options.defaults):
        parser.error(f"all have only this in common: --sampler {' or '.join(peers.SAMPLERS)}, without --defaults")
    settings: dict[str, Any] = {}
    if not options.defaults:
        settings = {"sampler": options.sampler, "steps": options.steps, "guidance_interval": (0.0, 1.0)}
        if options.side:
            settings |= {"width": options.side, "height": options.side}
    model = model_for(options.model, options.shape, options.compile)
    eager = model_for(options.model, options.shape) if options.compile else None
    alone = asyncio.run(measure(model, settings, options.repeats, eager=eager, with_peers=options.peers))
    example = model.request("example", **settings)
    description = f"{example.sampler}, {example.steps} steps, {example.width}x{example.height}"
    if options.defaults:
        description += " against the pipeline's own 50"
    print(f"{model.name}, {model.dtype}, {model.device}, {description}, median of {options.repeats} in turns")
    for name, seconds in alone.seconds.items():
        print(f"{name:26} {seconds:8.3f} s" + ("" if name == ENGINE else f"   engine / it {alone.ratio(name):.2f}"))
    for name, reason in alone.missing.items():
        print(f"{name:26} {reason}")


if __name__ == "__main__":
    main()
