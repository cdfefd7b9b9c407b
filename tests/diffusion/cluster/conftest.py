"""Replicas on two machines, which are two nodes of a Ray cluster in this one, and the same engine here to compare with."""

import asyncio
import importlib.util
import time
from types import SimpleNamespace

import pytest
import torch

from diffusion.cluster import remote as remote_module
from diffusion.cluster.remote import RemoteEngine, load
from diffusion.config import EngineConfig
from diffusion.loading.model import load_model
from diffusion.loading.random_weights import build_tiny_components
from diffusion.serving.engine import Engine
from tests.support.machines import SECRET, Machines


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
    for name, component in build_tiny_components("v_prediction").items():
        component.save_pretrained(other / name)
    running = Machines()
    try:
        shared = {"device": "cpu", "dtype": "float32", "preview_seconds": 0, "compile": False}
        applications = {
            "tiny": {"model": str(tiny_folder), "replicas": 2, "cpus": 1.5},  # one each
            "other": {"model": str(other), "replicas": 1, "cpus": 0.1, "max_waiting": 2},
        }
        running.ask("deploy", applications={name: options | shared for name, options in applications.items()})
        yield running
    finally:
        running.close()


@pytest.fixture
async def remote(machines):
    """The engine as a bot holds it."""
    model, check = await asyncio.to_thread(load, machines.url, "tiny", SECRET)
    async with RemoteEngine(model, EngineConfig(), check) as engine:
        yield engine


@pytest.fixture
async def local(tiny_folder):
    """The same engine here."""
    model = load_model(tiny_folder, "cpu", torch.float32)
    async with Engine(model, EngineConfig(preview_seconds=0)) as engine:
        yield engine


@pytest.fixture
def clock(monkeypatch):
    """Lets seconds go by for the bot: `ahead` of what they are."""
    clock = SimpleNamespace(ahead=0.0, perf_counter=lambda: time.perf_counter() + clock.ahead)
    monkeypatch.setattr(remote_module, "time", clock)
    return clock
