"""Upscalers load through spandrel, enlarge as its own call does, and other files are refused by a sentence."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import bot
from diffusion.errors import ModelLoadError
from diffusion.images.upscaler import TILE
from diffusion.loading.upscaler import load_upscaler
from tests.support.tiny_files import write_file
from tests.support.upscalers import spandrel, write_esrgan


@pytest.fixture(scope="module")
def library():
    return spandrel()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_esrgan(tmp_path_factory.mktemp("esrgan") / "4x_tiny.safetensors")


def noise(width, height):
    pixels = np.random.default_rng(1).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def enlarged(upscaler, image, factor):
    enlargement = upscaler.enlarge(image, factor)
    while enlargement.image is None:
        enlargement.advance()
    return enlargement


def by_the_library(library, file, image):
    network = library.ModelLoader().load_from_file(file).eval()
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    return (network(pixels)[0].permute(1, 2, 0) * 255).round().numpy()


def test_enlarge_equals_spandrels_call_in_one_tile(library, file):
    upscaler = load_upscaler(str(file), "cpu")
    assert (upscaler.scale, upscaler.factors, upscaler.name) == (4, (2, 4), "4x_tiny")
    image = noise(40, 24)
    ours = np.array(enlarged(upscaler, image, 4).image)
    assert ours.shape == (96, 160, 3) and len(np.unique(ours)) > 20
    assert np.array_equal(ours, by_the_library(library, file, image))


def test_enlarge_joins_tiles_without_seams(library, file):
    image = noise(130, 100)
    enlargement = enlarged(load_upscaler(str(file), "cpu"), image, 4)
    assert enlargement.total == 4
    difference = np.abs(np.array(enlargement.image, float) - by_the_library(library, file, image))
    print(f"largest difference {difference.max():g} of 255")
    assert difference.max() <= 1


def test_enlarge_by_less_than_the_scale_shrinks_the_result(library, file):
    image = noise(40, 24)
    upscaler = load_upscaler(str(file), "cpu")
    large = enlarged(upscaler, image, 4).image
    assert enlarged(upscaler, image, 2).image.tobytes() == large.resize((80, 48), Image.Resampling.LANCZOS).tobytes()


def test_load_upscaler_offers_no_more_than_its_scale(library, tmp_path):
    assert load_upscaler(str(write_esrgan(tmp_path / "2x.safetensors", ups=1)), "cpu").factors == (2,)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("4x.pth", "Opening a pickle can run any code, so it is not read"),
        ("missing.safetensors", "there is no such file. Correct the path."),
        ("cut.safetensors", "it is no complete safetensors file"),
        ("kohya_lora.safetensors", "it is no upscaler of a known architecture. Name one such as ESRGAN, SwinIR or SPAN."),
        ("one_to_one.safetensors", "it is ESRGAN, which does not enlarge pictures. Name one that does, by 2 or more."),
        ("grey.safetensors", "it reads 3 channels and makes 1, not the 3 of RGB."),
    ],
)
def test_load_upscaler_refuses_other_files(library, file, tmp_path, name, words):
    path = tmp_path / name
    if name == "4x.pth":
        torch.save(load_file(file), path)
    elif name == "cut.safetensors":
        path.write_bytes(file.read_bytes()[:-100])
    elif name == "kohya_lora.safetensors":
        write_file(tmp_path, "kohya_lora")
    elif name == "one_to_one.safetensors":
        write_esrgan(path, ups=0)
    elif name == "grey.safetensors":
        write_esrgan(path, out_channels=1)
    with pytest.raises(ModelLoadError) as caught:
        load_upscaler(str(path), "cpu")
    assert str(caught.value).startswith(f"The model {str(path)!r} cannot be loaded: UPSCALER names no usable file: ")
    assert words in str(caught.value) and str(caught.value).endswith(".")


def test_load_upscaler_warns_of_a_large_network_on_a_cpu(library, file, monkeypatch, caplog):
    load_upscaler.cache_clear()
    assert load_upscaler(str(file), "cpu").tile == TILE
    assert not caplog.records
    load_upscaler.cache_clear()
    monkeypatch.setattr("diffusion.loading.upscaler.MANY_PARAMETERS", 0)
    upscaler = load_upscaler(str(file), "cpu")
    load_upscaler.cache_clear()
    assert enlarged(upscaler, noise(40, 24), 4).total == 2
    assert "Choose a compact network, such as one of SPAN, or a GPU." in caplog.text


def test_bot_refuses_a_wrong_file_before_it_loads_a_model(tmp_path, monkeypatch):
    monkeypatch.setattr("diffusion.load_model", None)
    config = bot.Config(_env_file=None, upscaler=str(tmp_path / "4x.pth"), model_id="")
    with pytest.raises(ModelLoadError, match=r"4x\.pth.*UPSCALER names no usable file"):
        bot.load_model(config, "embedded")


def test_load_upscaler_names_the_package_that_is_missing(file, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    load_upscaler.cache_clear()
    with pytest.raises(ModelLoadError, match=r"upscalers need the package spandrel.*pip install -e '\.\[upscaler\]'"):
        load_upscaler(str(file), "cpu")


def test_load_upscaler_refuses_weights_of_another_shape(library, file, tmp_path):
    weights = load_file(file)
    save_file(weights | {"conv_hr.weight": torch.zeros(5, 5, 3, 3)}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelLoadError, match="its weights do not fit its architecture"):
        load_upscaler(str(tmp_path / "odd.safetensors"), "cpu")
