"""LoRAs of Stable Diffusion XL, whose files have other names and two text encoders."""

import copy

import pytest
import torch

from diffusion.lora.catalogue import LoraCatalogue
from diffusion.lora.loaded import layer_index
from diffusion.lora.weights import read_weights
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from tests.support import tiny_xl
from tests.support.lora_files import ATTENTION, TEXT, merge, random_pairs, write_diffusers, write_kohya, write_kohya_xl
from tests.support.parity import difference_of

NETWORKS = ("unet", "text_encoder", "text_encoder_2")
SCALE = 2 / 4  # alpha / rank of the files
REQUESTS = [
    ImageRequest("a fox", "a dog", 32, 32, 3, 7.5, "euler", seed=1),
    ImageRequest("a fox", "a dog", 32, 32, 2, 4.0, "euler", seed=2, loras=(("kohya", 0.7),)),
]


@pytest.fixture(scope="module")
def xl():
    return tiny_xl.build_components()


@pytest.fixture(scope="module")
def xl_pairs(xl):
    return random_pairs({name: xl[name] for name in NETWORKS}, 1, endings=(*ATTENTION, *TEXT))


@pytest.fixture(scope="module")
def xl_folder(xl, xl_pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_kohya_xl(folder / "kohya.safetensors", xl_pairs, xl["unet"].config.layers_per_block)
    write_diffusers(folder / "diffusers.safetensors", xl_pairs)
    return folder


@pytest.fixture(scope="module")
def xl_model(xl, xl_folder):
    model = tiny_xl.model_of({name: copy.deepcopy(part) for name, part in xl.items()})
    model.offer_loras([xl_folder])
    return model


def test_kohya_and_diffusers_files_are_identical(xl, xl_pairs, xl_folder):
    catalogue = LoraCatalogue([xl_folder], layer_index({name: xl[name] for name in NETWORKS}, "Stable Diffusion XL"))
    catalogue.refresh()
    kohya, diffusers = (
        {(layer.network, layer.module): layer for layer in read_weights(name, catalogue.file(name)).layers}
        for name in ("kohya", "diffusers")
    )
    assert kohya.keys() == diffusers.keys() == xl_pairs.keys()
    for place, layer in kohya.items():
        assert torch.equal(layer.down, diffusers[place].down) and torch.equal(layer.up, diffusers[place].up)


def test_mixed_rows_equal_merged_weights(xl, xl_pairs, xl_model):
    together = denoise_all(xl_model, [xl_model.trajectory(request) for request in REQUESTS])
    parts = {name: copy.deepcopy(part) for name, part in xl.items()}
    merge({name: parts[name] for name in NETWORKS}, xl_pairs, 0.7 * SCALE)
    for request, found, components in zip(REQUESTS, together, (xl, parts), strict=True):
        alone = tiny_xl.model_of(components)
        (wanted,) = denoise_all(alone, [alone.trajectory(request.replace(loras=()))])
        print(f"{request.loras}: {difference_of(found, wanted):.1e}")
        assert difference_of(found, wanted) <= 1e-5


def test_a_lora_of_stable_diffusion_1_is_refused_by_name(xl_model, networks, pairs, tmp_path):
    write_kohya(tmp_path / "old.safetensors", pairs["texts"], metadata={"ss_base_model_version": "sd_v1"})
    xl_model.offer_loras([tmp_path])
    assert "is for Stable Diffusion 1, and this model is Stable Diffusion XL" in str(xl_model.loras["old"].problem)
