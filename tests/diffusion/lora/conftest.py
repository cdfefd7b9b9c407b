import copy

import pytest

from diffusion.loading.random_weights import build_tiny_components
from tests.support.lora_files import TEXT, random_pairs, write_kohya
from tests.support.models import model_of

CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv", "conv_in")


@pytest.fixture(scope="module")
def components():
    return build_tiny_components()


@pytest.fixture(scope="module")
def networks(components):
    return {name: components[name] for name in ("unet", "text_encoder")}


@pytest.fixture(scope="module")
def pairs(networks):
    """LoRAs by name: of attention, of attention and texts, and of convolutions with another rank."""
    unet = {"unet": networks["unet"]}
    return {
        "style": random_pairs(unet, 1),
        "texts": random_pairs(unet, 2) | random_pairs({"text_encoder": networks["text_encoder"]}, 3, endings=TEXT),
        "convs": random_pairs(unet, 4, rank=3, endings=CONVOLUTIONS),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pairs):
    place = tmp_path_factory.mktemp("loras")
    for name, changes in pairs.items():
        write_kohya(place / f"{name}.safetensors", changes)
    return place


@pytest.fixture(scope="module")
def model(components, folder):
    model = model_of({name: copy.deepcopy(part) for name, part in components.items()})
    model.offer_loras([folder])
    return model
