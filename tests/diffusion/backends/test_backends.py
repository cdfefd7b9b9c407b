"""The UNet called by other ways than plainly: compiled, recorded as CUDA graphs, with another attention."""

import logging
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from diffusion.backends import openvino
from diffusion.backends.compiled_cache import CompiledCache
from diffusion.backends.cuda_graphs import Graphs
from diffusion.backends.row_counts import ROW_COUNTS, filled_up, split_rows
from diffusion.backends.speed import Speeds
from diffusion.config import EngineConfig
from diffusion.errors import ModelLoadError
from diffusion.families import compiled
from diffusion.families.compiled import EAGER, ONE_STREAM, FastestDenoiser
from diffusion.loading.folder import PRETRAINED
from diffusion.loading.model import load_model
from diffusion.loading.random_weights import build_tiny_components
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from diffusion.serving.engine import Engine
from tests.support.models import model_of


def requests():
    yield ImageRequest("a fox", "", 32, 32, 4, seed=1)
    yield ImageRequest("a fox", "", 32, 32, 4, 1.0, seed=2)  # one row
    yield ImageRequest("a fox", "", 48, 32, 4, seed=3)  # another size than the model's own


@pytest.fixture
def traced(monkeypatch):
    """Traces what is compiled and counts how often, but spares the machine code."""
    traced = []

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr("diffusion.families.model.is_installed", lambda: False)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    yield traced
    torch.compiler.reset()


@pytest.fixture
def model(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return model_of(build_tiny_components())


def test_compile_draws_the_same_and_compiles_once(model, traced):
    before = [denoise_all(model, [model.trajectory(request)])[0] for request in requests()]
    model.compile()
    many = denoise_all(model, [model.trajectory(request) for request in requests() if request.width == 32])
    after = [denoise_all(model, [model.trajectory(request)])[0] for request in requests()]
    for latents, plain in zip([*after, *many], [*before, *before[:2]], strict=True):
        torch.testing.assert_close(latents, plain, rtol=0, atol=1e-4)
    assert len(traced) == 1


async def test_engine_compiles_in_the_background(model, traced, caplog):
    with caplog.at_level(logging.INFO, "diffusion"):
        async with Engine(model, EngineConfig(compile=True)) as engine:
            await engine.submit(next(requests()))
            while "compiled in" not in caplog.text:
                await engine.submit(next(requests()))
    assert traced


async def test_engine_goes_on_uncompiled_when_compiling_fails(model, monkeypatch, caplog):
    def compile_network(network):
        raise RuntimeError("no compiler")

    monkeypatch.setattr("diffusion.families.model.is_installed", lambda: False)
    monkeypatch.setattr(torch, "compile", compile_network)
    async with Engine(model, EngineConfig(compile=True)) as engine:
        while "goes on as it is" not in caplog.text:
            assert (await engine.submit(next(requests()))).images


class Weighed(torch.nn.Module):
    """Takes two conditions of one shape, which must not be confused."""

    config = None

    def forward(self, latents, first, second):
        return latents * first.view(-1, 1, 1, 1) - second.view(-1, 1, 1, 1)


def test_openvino_takes_conditions_by_name(tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    monkeypatch.setattr(compiled, "measure", lambda ways, paired: Speeds({EAGER: {1: 2.0}, ONE_STREAM: {1: 1.0}}, paired))
    family = SimpleNamespace(denoiser=Weighed(), dtype=torch.float32)
    family.predict = lambda latents, timesteps, first, second: family.denoiser(latents, first, second)
    inputs = {"latents": torch.randn(2, 4, 4, 4), "timesteps": torch.zeros(2)}
    first, second = torch.randn(2, 2)
    converted = FastestDenoiser(family, CompiledCache(tmp_path), **inputs, first=first, second=second)
    torch.testing.assert_close(
        converted(**inputs, second=second, first=first), family.denoiser(inputs["latents"], first, second)
    )


def test_load_model_reports_missing_xformers():
    if torch.cuda.is_available():
        pytest.skip("this machine may have xformers")
    with pytest.raises(ModelLoadError, match="xformers"):
        load_model(PRETRAINED, device="cpu", attention="xformers")


def test_load_model_reports_xformers_without_kernels(monkeypatch):
    def enable(unet):
        raise NotImplementedError("No operator found for `memory_efficient_attention_forward` with inputs:\n query")

    monkeypatch.setattr(UNet2DConditionModel, "enable_xformers_memory_efficient_attention", enable)
    with pytest.raises(ModelLoadError, match=r"xformers\.info"):
        load_model(PRETRAINED, device="cpu", attention="xformers")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_graphs_equal_the_network():
    network = torch.nn.Linear(4, 3, device="cuda").requires_grad_(False)
    graphs = Graphs(lambda latents, timesteps: network(latents), torch.device("cuda"))
    with torch.inference_mode():
        for rows in (2, 3, 2, 3, 2):
            given = torch.randn(rows, 4)
            torch.testing.assert_close(graphs(given, torch.zeros(rows)).clone(), network(given.cuda()))


@pytest.mark.parametrize("streams", [1, 2])
def test_openvino_makes_calls_of_few_numbers_of_rows(streams, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    module = torch.nn.Conv2d(2, 3, 3, padding=1)
    compiled = openvino.compile_converted(openvino.convert(module, [torch.zeros(2, 2, 4, 4)]), torch.float32)
    exported = np.frombuffer(compiled.export_model().getbuffer(), np.uint8)
    network = openvino.import_compiled({None: exported}, torch.float32, streams)
    with_rows, made = openvino._with_rows, set()

    def noted(array, rows):
        made.add(rows)
        return with_rows(array, rows)

    monkeypatch.setattr(openvino, "_with_rows", noted)
    for rows in range(1, 34):
        latents = torch.randn(rows, 2, 4, 4)
        torch.testing.assert_close(network(latents), module(latents).detach(), rtol=1e-4, atol=1e-5)
    assert made <= set(ROW_COUNTS) and len(made) <= 11


def test_openvino_fills_up_all_inputs_alike():
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    inputs = torch.randn(3, 4, 4, 4), torch.randn(3), torch.randn(3)
    converted = openvino.convert(Weighed(), inputs)
    networks = {None: converted, (4, 4, 4): openvino.with_shape(converted, 4, 4, 4)}
    loaded = []

    def load(shape):
        loaded.append(shape)
        return openvino.compile_converted(networks[shape], torch.float32)

    torch.testing.assert_close(openvino.OpenVino(networks, load)(*inputs), Weighed()(*inputs))
    assert loaded == [(4, 4, 4)]


@pytest.mark.parametrize(
    ("rows", "streams", "calls"),
    [
        (1, 1, [1]),
        (3, 1, [3]),  # filled up to 4
        (5, 1, [4, 1]),
        (6, 1, [4, 2]),
        (7, 1, [7]),
        (21, 1, [8, 8, 4, 1]),
        (2, 2, [2]),
        (9, 2, [8, 1]),
        (12, 2, [8, 4]),
        (15, 2, [15]),
        (40, 2, [16, 16, 8]),
    ],
)
def test_rows_are_split_into_usual_calls(rows, streams, calls):
    assert split_rows(rows, streams, (1, 2, 4, 8)) == calls
    assert split_rows(rows, streams, ()) == [rows]
    assert split_rows(rows, streams, (4,))[-1] <= max(4 * streams, rows % (4 * streams))


def test_rows_fill_up_like_their_halves():
    for rows in range(1, 65):
        assert rows <= filled_up(rows) < 1.5 * rows + 1
        assert filled_up(rows) == 2 * filled_up(-(-rows // 2)) or rows in (1, 3)
    assert filled_up(65) == 65


def test_openvino_calls_a_network_of_its_own_for_the_usual_shapes():
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    module = torch.nn.Conv2d(2, 3, 3, padding=1)
    converted = openvino.convert(module, [torch.zeros(2, 2, 4, 4)])
    networks = {None: converted, (4, 4, 6): openvino.with_shape(converted, 4, 4, 6)}
    loaded = []

    def load(shape):
        loaded.append(shape)
        return openvino.compile_converted(networks[shape], torch.float32)

    network = openvino.OpenVino(networks, load)
    for rows, height, width, wanted in (
        (4, 4, 6, [(4, 4, 6)]),
        (4, 4, 6, [(4, 4, 6)]),
        (3, 4, 6, [(4, 4, 6)]),  # filled up
        (10, 4, 6, [(4, 4, 6)]),  # in three calls
        (4, 6, 4, [(4, 4, 6), None]),
    ):
        latents = torch.randn(rows, 2, height, width)
        torch.testing.assert_close(network(latents), module(latents).detach(), rtol=1e-4, atol=1e-5)
        assert loaded == wanted
