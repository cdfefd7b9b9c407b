"""Networks compiled for a CPU draw what torch draws, are kept across starts, and give way where they do not fit."""

import logging

import pytest
import torch

from diffusion.backends.compiled_cache import CompiledCache
from diffusion.backends.speed import Speeds
from diffusion.families import compiled
from diffusion.families.compiled import CHANNELS_LAST, EAGER, ONE_STREAM, TWO_STREAMS, CompiledModule, Fastest, Part
from diffusion.loading.random_weights import build_tiny_components
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from tests.support.models import model_of

pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
BY_OPENVINO = {EAGER: {1: 3.0, 2: 3.0, 8: 9.0}, ONE_STREAM: {1: 1.0, 2: 2.0, 8: 8.0}, TWO_STREAMS: {2: 1.0, 8: 4.0}}
BY_TORCH = {EAGER: {1: 3.0, 2: 3.0}, CHANNELS_LAST: {1: 1.0, 2: 1.0}, ONE_STREAM: {1: 4.0, 2: 4.0}}


def requests():
    yield ImageRequest("a fox", "", 32, 32, 4, seed=1)
    yield ImageRequest("a fox", "", 32, 32, 4, 1.0, seed=2)  # one row
    yield ImageRequest("a fox", "", 48, 32, 4, seed=3)  # another size than the model's own


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return CompiledCache(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def plain():
    return model_of(build_tiny_components())


@pytest.fixture(scope="module")
def fast(cache, module_patch):
    module_patch.setattr(compiled, "measure", lambda ways, paired: Speeds(BY_OPENVINO, paired))
    model = model_of(build_tiny_components())
    assert not model.is_cached(cache)
    model.compile(cache)
    return model


def test_compiled_model_draws_the_same(plain, fast):
    wanted = [denoise_all(plain, [plain.trajectory(request)])[0] for request in requests()]
    together = denoise_all(fast, [fast.trajectory(request) for request in requests() if request.width == 32])
    together += denoise_all(fast, [fast.trajectory(request) for request in requests() if request.width != 32])
    for latents, found in zip(wanted, together, strict=True):
        torch.testing.assert_close(found, latents, rtol=0, atol=1e-3)


def test_compiled_autoencoder_decodes_and_encodes_the_same(plain, fast):
    assert isinstance(fast.family.vae.decoder, CompiledModule)
    with torch.inference_mode():
        for sides in ((4, 4), (6, 4)):
            latents = torch.randn(2, 4, *sides)
            torch.testing.assert_close(fast.family.to_pixels(latents), plain.family.to_pixels(latents), rtol=0, atol=1e-4)
        pixels = torch.rand(1, 3, 48, 32) * 2 - 1
        torch.testing.assert_close(
            fast.family.to_latents(pixels, None), plain.family.to_latents(pixels, None), rtol=0, atol=1e-4
        )


def test_second_start_compiles_and_measures_nothing(fast, cache, monkeypatch):
    for name in ("convert", "measure"):
        monkeypatch.setattr(compiled, name, lambda *_: pytest.fail("it is in the cache"))
    model = model_of(build_tiny_components())
    assert model.is_cached(cache)
    model.compile(cache)
    request = next(requests())
    torch.testing.assert_close(
        denoise_all(model, [model.trajectory(request)])[0], denoise_all(fast, [fast.trajectory(request)])[0], rtol=0, atol=0
    )


def part_of(network, dtype=torch.float32):
    return Part("part", network, dtype, (torch.zeros(2, 3, 4, 4),), network, lambda dtype: network.to(dtype))


def test_other_weights_are_compiled_anew(cache, monkeypatch):
    monkeypatch.setattr(compiled, "measure", lambda ways, paired: Speeds(BY_OPENVINO, paired))
    sample = torch.randn(3, 3, 4, 4)
    for seed in (1, 2):
        torch.manual_seed(seed)
        network = torch.nn.Conv2d(3, 4, 3).requires_grad_(False)
        fastest = Fastest(part_of(network), cache)
        torch.testing.assert_close(fastest(sample), network(sample), rtol=0, atol=1e-5)


def test_damaged_file_is_compiled_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(compiled, "measure", lambda ways, paired: Speeds(BY_OPENVINO, paired))
    cache = CompiledCache(tmp_path)
    network = torch.nn.Conv2d(3, 4, 3).requires_grad_(False)
    Fastest(part_of(network), cache)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    sample = torch.randn(1, 3, 6, 5)
    torch.testing.assert_close(Fastest(part_of(network), cache)(sample), network(sample), rtol=0, atol=1e-5)
    assert "compiled again" in caplog.text


def test_speeds_measured_beside_other_work_serve_until_they_are_measured_again(tmp_path, monkeypatch):
    part = part_of(torch.nn.Conv2d(3, 4, 3).requires_grad_(False))
    monkeypatch.setattr(compiled, "measure", lambda ways, paired: Speeds(BY_OPENVINO, paired, is_quiet=False))
    cache = CompiledCache(tmp_path)
    Fastest(part, cache)
    assert not part.is_cached(cache)
    monkeypatch.setattr(compiled, "measure", lambda ways, paired: Speeds(BY_TORCH, paired))
    assert Fastest(part, cache).speeds.seconds == BY_OPENVINO
    assert Fastest(part, CompiledCache(tmp_path, takes_guesses=False)).speeds.seconds == BY_TORCH
    assert part.is_cached(cache)


def test_compiled_network_that_fails_gives_way_to_torch(cache, monkeypatch, caplog):
    def fail(sample):
        raise RuntimeError("no memory")

    monkeypatch.setattr(compiled, "measure", lambda ways, paired: Speeds(BY_OPENVINO, paired))
    monkeypatch.setattr(compiled, "import_compiled", lambda *_: fail)
    network = torch.nn.Conv2d(3, 4, 3).requires_grad_(False)
    fastest = Fastest(part_of(network), cache)
    sample = torch.randn(1, 3, 4, 4)
    assert torch.equal(fastest(sample), network(sample))
    assert "torch calls it from now on" in caplog.text
    assert not fastest.compiles(1)


def test_speeds_of_another_form_are_measured_again(tmp_path, monkeypatch):
    cache = CompiledCache(tmp_path)
    network = torch.nn.Conv2d(3, 4, 3).requires_grad_(False)
    part = part_of(network)
    cache.write_json(f"{part.key()}-speeds", {"seconds": {EAGER: [1]}})
    measured = []
    monkeypatch.setattr(compiled, "measure", lambda ways, paired: measured.append(ways) or Speeds(BY_OPENVINO, paired))
    assert Fastest(part, cache).compiles(1)
    assert measured


def test_network_that_torch_calls_faster_stays_with_torch(cache, monkeypatch, caplog):
    monkeypatch.setattr(compiled, "measure", lambda ways, paired: Speeds(BY_TORCH, paired))
    components = build_tiny_components("v_prediction")
    components["unet"].conv_out.bias.data += 0.01  # a model of its own
    plain, model = model_of(components), model_of(components)
    request = next(requests())
    wanted = denoise_all(plain, [plain.trajectory(request)])[0]
    with caplog.at_level(logging.INFO):
        monkeypatch.setattr(compiled, "is_installed", lambda: False)
        model.compile(cache, by_torch=False)
    kernel = model.family.denoiser.conv_in.weight
    assert kernel.is_contiguous()  # until a call, as another thread may use it
    torch.testing.assert_close(denoise_all(model, [model.trajectory(request)])[0], wanted, rtol=0, atol=1e-4)
    assert kernel.is_contiguous(memory_format=torch.channels_last)
