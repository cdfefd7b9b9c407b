"""What fixed scenarios cost, counted instead of timed: a change that draws the same with more work fails here.

Where a change saves work, lower its numbers here.
"""

import asyncio
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffusion.config import EngineConfig
from diffusion.request import ImageRequest
from diffusion.serving.engine import Engine

COPIES = {"aten::_to_copy", "aten::copy_", "aten::clone", "aten::cat"}
WAITS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__")  # each would wait for another device


class Copies(TorchDispatchMode):
    """Counts the bytes that this thread copies."""

    def __init__(self, costs):
        super().__init__()
        self.costs = costs

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **kwargs or {})
        if function._schema.name in COPIES:
            self.costs["bytes copied"] += result.nbytes
        return result


def counting(original, costs):
    """The method ``original``, counted."""

    def call(*args, **options):
        costs["waits"] += 1
        return original(*args, **options)

    return call


async def costs_of(model, requests, monkeypatch):
    """Draw ``requests`` of an owner each, all at once, and count what that takes; the network itself is left out."""
    costs = Counter()
    shapes = set()  # of calls: on CUDA, each of them is captured as a graph

    def predict_noise(latents, timesteps, conditions):
        shapes.add(latents.shape)
        costs.update({"calls": 1, "rows": len(latents)})
        return torch.zeros_like(latents)

    async with Engine(model, EngineConfig(max_rows=16, preview_seconds=1e9)) as engine:
        runner = engine._residents.default.runner
        advance = runner.advance

        def count(*args):
            with Copies(costs), monkeypatch.context() as patch:
                patch.setattr(model, "predict_noise", predict_noise)
                for name in WAITS:
                    patch.setattr(torch.Tensor, name, counting(getattr(torch.Tensor, name), costs))
                return advance(*args)

        runner.advance = count
        engine.pause()
        jobs = [engine.submit(request, owner) for owner, request in enumerate(requests)]
        engine.resume()
        await asyncio.gather(*jobs)
    costs["graphs"] = len(shapes)
    return costs


def asked(**settings):
    return ImageRequest("a fox", **{"width": 32, "height": 32, "steps": 10, "sampler": "dpm++"} | settings)


MIXED = ("lms", "heun", "euler_a", "dpm++")


@pytest.mark.parametrize(
    ("requests", "costs"),
    [
        ([asked(guidance_scale=1.0)], {"calls": 10, "rows": 10, "waits": 14, "bytes copied": 61_160, "graphs": 1}),
        ([asked(guidance_period=2)], {"calls": 10, "rows": 15, "waits": 14, "bytes copied": 96_956, "graphs": 2}),
        ([asked()], {"calls": 10, "rows": 20, "waits": 14, "bytes copied": 122_896, "graphs": 1}),
        (
            [asked(seed=seed) for seed in range(8)],
            {"calls": 10, "rows": 160, "waits": 30, "bytes copied": 985_216, "graphs": 1},
        ),
        (
            [asked(seed=seed, steps=5 + seed, sampler=MIXED[seed % 4]) for seed in range(8)],
            {"calls": 19, "rows": 164, "waits": 49, "bytes copied": 1_005_616, "graphs": 7},
        ),
    ],
    ids=["without guidance", "guidance in every second call", "alone", "eight at once", "eight mixed"],
)
async def test_scenario_costs_what_it_did(tiny_model, requests, costs, monkeypatch):
    await costs_of(tiny_model, requests, monkeypatch)  # what is kept from now on costs nothing later
    assert await costs_of(tiny_model, requests, monkeypatch) == costs
