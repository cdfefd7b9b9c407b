"""Replicas on two machines, which are two nodes of a Ray cluster in this one, and the same engine here to compare with."""

import asyncio
import importlib.util

import pytest
import torch

from diffusion.cluster.remote import RemoteEngine, load
from diffusion.config import EngineConfig
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.request import ImageRequest
from diffusion.serving.engine import Engine
from tests.conftest import build_components
from tests.support.machines import Machines

PATIENCE = 60.0  # seconds, also on a busy machine


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute here with as many threads as a replica does: more would only wait for the cores that those take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def machines(tiny_folder, tmp_path_factory):
    """Two machines that serve `tiny` by two replicas and `other`, which takes little on, by one."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install -e '.[cluster]'")
    other = tmp_path_factory.mktemp("other")
    for name, component in build_components("v_prediction").items():
        component.save_pretrained(other / name)
    running = Machines()
    try:
        shared = {"device": "cpu", "dtype": "float32", "preview_seconds": 0}
        running.ask("deploy", name="tiny", model=str(tiny_folder), replicas=2, cpus=1.5, **shared)  # one each
        running.ask("deploy", name="other", model=str(other), replicas=1, cpus=0.1, max_waiting=2, **shared)
        yield running
    finally:
        running.close()


@pytest.fixture
async def remote(machines):
    """The engine as a bot holds it."""
    model, check = await asyncio.to_thread(load, machines.url, "tiny")
    async with RemoteEngine(model, EngineConfig(), check) as engine:
        yield engine


@pytest.fixture
async def local(tiny_folder):
    """The same engine here."""
    model = StableDiffusion.from_pretrained(tiny_folder, "cpu", torch.float32)
    async with Engine(model, EngineConfig(preview_seconds=0)) as engine:
        yield engine


def asked(seed=0, **settings):
    return ImageRequest("a red fox", **{"width": 32, "height": 32, "steps": 20, "sampler": "ddim", "seed": seed} | settings)


async def replicas(machines, name="tiny"):
    return await asyncio.to_thread(machines.ask, "replicas", name=name)


async def queued(machines, name="tiny"):
    return sum(replica["queued"] for replica in await replicas(machines, name))


async def until(condition):
    """Wait until ``condition``, which may be a coroutine function, holds."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.1)


def alike(ours, theirs):
    """Whether pictures differ by no more than rounding does, as batches of other sizes are computed in another order."""
    return len(ours) == len(theirs) and all(
        one.size == other.size and max(abs(a - b) for a, b in zip(one.tobytes(), other.tobytes(), strict=True)) <= 1
        for one, other in zip(ours, theirs, strict=True)
    )
