"""A transformer from a file in GGUF draws in place of the model's own, and what does not fit is refused by a sentence."""

import copy
import importlib.util
import shutil

import pytest
import torch
from gguf import GGMLQuantizationType as Packing

import bot
from diffusion.errors import ModelLoadError
from diffusion.loading.budget import OPTIONS
from diffusion.loading.memory import bytes_by_part
from diffusion.loading.model import describe_model, load_model, plan_model
from diffusion.loading.placement import is_packed
from diffusion.sampling.trajectory import denoise_all
from diffusion.serving.compiling import why_not
from tests.support.gguf_files import as_z_image_publishes, write_gguf
from tests.support.hub_mirror import mirror
from tests.support.lora_files import random_pairs, write_diffusers
from tests.support.tiny_families import BUILDERS

FAMILIES = ["flux", "klein", "chroma", "qwen", "sd3", "z_image"]
SETTINGS = {"steps": 2, "seed": 3, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def components():
    return {family: BUILDERS[family].build_components() for family in FAMILIES}


@pytest.fixture(scope="module")
def folders(components, tmp_path_factory):
    return {family: BUILDERS[family].save(components[family], tmp_path_factory.mktemp(family) / family) for family in FAMILIES}


def latents_of(model, **settings):
    return denoise_all(model, [model.trajectory(model.request("a fox", **SETTINGS | settings))])[0]


def with_weights(components, family, weights):
    """Return the model of ``components`` whose transformer has ``weights``."""
    changed = components[family] | {"transformer": copy.deepcopy(components[family]["transformer"])}
    changed["transformer"].load_state_dict(weights)
    return BUILDERS[family].model_of(changed)


@pytest.mark.parametrize("family", FAMILIES)
def test_gguf_draws_as_its_unpacked_weights_do(family, components, folders, tmp_path):
    unpacked = write_gguf(tmp_path / "model-Q8_0.gguf", components[family]["transformer"].state_dict())
    expected = latents_of(with_weights(components, family, unpacked))
    model = load_model(folders[family], "cpu", torch.float32, denoiser=str(tmp_path / "model-Q8_0.gguf"))
    torch.testing.assert_close(latents_of(model), expected, rtol=1e-5, atol=1e-5)
    own = latents_of(load_model(folders[family], "cpu", torch.float32))
    assert (own - expected).norm() > 1e-4 * own.norm(), "the file made no difference"


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("packing", [Packing.Q4_0, Packing.Q5_1, Packing.Q8_0], ids=lambda packing: packing.name)
def test_gguf_with_the_names_of_the_first_release(packing, prefix, components, folders, tmp_path):
    weights = components["z_image"]["transformer"].state_dict()
    unpacked = write_gguf(tmp_path / "own.gguf", weights, packing)
    published = {prefix + name: weight for name, weight in as_z_image_publishes(weights).items()}
    write_gguf(tmp_path / "published.gguf", published, packing)
    model = load_model(folders["z_image"], "cpu", torch.float32, denoiser=str(tmp_path / "published.gguf"))
    expected = latents_of(with_weights(components, "z_image", unpacked))
    torch.testing.assert_close(latents_of(model), expected, rtol=1e-5, atol=1e-5)


def test_memory_is_known_before_a_weight_is_read(components, folders, tmp_path):
    path = tmp_path / "model-Q4_0.gguf"
    write_gguf(path, components["flux"]["transformer"].state_dict(), Packing.Q4_0)
    described = bytes_by_part(describe_model(folders["flux"], "cpu", torch.float32, denoiser=str(path)))
    loaded = bytes_by_part(load_model(folders["flux"], "cpu", torch.float32, denoiser=str(path)))
    assert described == loaded
    plain = bytes_by_part(load_model(folders["flux"], "cpu", torch.float32))
    assert loaded["network"] < 0.5 * plain["network"] and loaded["text encoders"] == plain["text encoders"]


def test_packed_weights_are_not_packed_again(components, folders, tmp_path):
    path = tmp_path / "model-Q8_0.gguf"
    write_gguf(path, components["flux"]["transformer"].state_dict())
    with pytest.raises(ModelLoadError, match="it needs") as refused:
        plan_model(folders["flux"], "cpu", torch.float32, denoiser=str(path), max_bytes=1000)
    assert OPTIONS["in_8_bits"] not in str(refused.value)
    plan = plan_model(folders["flux"], "cpu", torch.float32, denoiser=str(path), max_bytes=2**30)
    assert plan.need.working > 0


def test_packed_model_is_drawn_uncompiled(components, folders, tmp_path):
    path = tmp_path / "model-Q8_0.gguf"
    write_gguf(path, components["flux"]["transformer"].state_dict())
    assert "unpack" in why_not(load_model(folders["flux"], "cpu", torch.float32, denoiser=str(path)), True)


def test_lora_changes_a_packed_network(components, folders, tmp_path):
    unpacked = write_gguf(tmp_path / "model.gguf", components["flux"]["transformer"].state_dict())
    plain = with_weights(components, "flux", unpacked)
    (tmp_path / "loras").mkdir()
    pairs = random_pairs({"transformer": plain.family.denoiser}, 1)
    write_diffusers(tmp_path / "loras" / "ink.safetensors", pairs)
    packed = load_model(folders["flux"], "cpu", torch.float32, denoiser=str(tmp_path / "model.gguf"))
    drawn = []
    for model in (plain, packed):
        model.offer_loras([tmp_path / "loras"])
        drawn.append(latents_of(model, loras=(("ink", 1.0),)))
        assert (drawn[-1] - latents_of(model)).norm() > 1e-3 * drawn[-1].norm()
    torch.testing.assert_close(*drawn, rtol=1e-5, atol=1e-5)


def test_hub_id_needs_no_weights_of_the_part_that_is_replaced(components, folders, user, tmp_path):
    path = tmp_path / "model-Q8_0.gguf"
    write_gguf(path, components["flux"]["transformer"].state_dict())
    repository = shutil.copytree(folders["flux"], tmp_path / "repository")
    downloads = []
    script = "import sys; from diffusion import load_model; m = load_model('someone/flux', 'cpu', denoiser=sys.argv[1]);"
    script += "m.generate(['a fox'], seeds=[1], width=64, height=64, steps=1); print(m.name)"
    with mirror(repository, "someone/flux", downloads=downloads) as endpoint:
        done = user("-c", script, path, HF_ENDPOINT=endpoint)
    assert done.stdout.split()[-1] == "flux", done.stderr
    names = {name for name, _ in downloads}
    assert "transformer/config.json" in names and "text_encoder_2/model.safetensors" in names
    assert not [name for name in names if name.startswith("transformer/") and name.endswith(".safetensors")]


def test_bot_draws_with_the_file_by_its_first_model_alone(components, folders, tmp_path):
    write_gguf(tmp_path / "model.gguf", components["flux"]["transformer"].state_dict())
    models = f"{folders['flux']},{folders['z_image']}"
    config = bot.Config(_env_file=None, denoiser=str(tmp_path / "model.gguf"), models=models, dtype="float32", device="cpu")
    found = [bot.describe_model(config, name)[0] for name in config.model_names]
    found += [bot.load_model(config, name)[0] for name in config.model_names]
    assert [is_packed(model.family.denoiser) for model in found] == [True, False, True, False]


REFUSED = {
    "missing": (None, "there is no such file. Download it, and correct the path."),
    "safetensors": (b"\x10\0\0\0\0\0\0\0{}", "names model.gguf, which is not in GGUF."),
    "cut": (b"GGUF\x03\0\0\0", "names model.gguf, which is no complete GGUF file. Download it again."),
    "a text encoder": (
        {"blk.0.attn_q.weight": torch.zeros(32, 32)},
        "names model.gguf, which is no network that is known here, and the model is of FLUX.1. Name the file of this model.",
    ),
    "another family": ("chroma", "names model.gguf, which is of Chroma, and the model is of FLUX.1. Name the file of this"),
    "another model of the family": (
        "schnell",
        "and the model is another one of FLUX.1: 4 tensors, such as time_text_embed.guidance_embedder.linear_1.bias,",
    ),
    "other sizes": ("wide", "names model.gguf, which does not fit the model ("),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, components, folders, tmp_path):
    content, words = REFUSED[case]
    path = tmp_path / "model.gguf"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        write_gguf(path, content)
    elif content == "schnell":
        write_gguf(path, BUILDERS["flux"].build_components("schnell")["transformer"].state_dict())
    elif content == "wide":
        weights = components["flux"]["transformer"].state_dict()
        write_gguf(path, weights | {"proj_out.weight": torch.zeros(16, 64)})
    elif content:
        write_gguf(path, components[content]["transformer"].state_dict())
    for load in (describe_model, load_model):
        with pytest.raises(ModelLoadError) as refused:
            load(folders["flux"], "cpu", torch.float32, denoiser=str(path))
        assert f"DENOISER {words}" in str(refused.value) or words in str(refused.value)


def test_models_without_a_transformer_take_no_gguf(tmp_path):
    write_gguf(tmp_path / "model.gguf", {"a": torch.zeros(32, 32)})
    with pytest.raises(ModelLoadError, match="DENOISER is for models with a transformer, and Stable Diffusion 1"):
        load_model(None, "cpu", denoiser=str(tmp_path / "model.gguf"))


def test_without_the_package_a_sentence_says_what_to_install(components, folders, tmp_path, monkeypatch):
    write_gguf(tmp_path / "model.gguf", components["flux"]["transformer"].state_dict())
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "gguf" else found(name, *rest))
    with pytest.raises(ModelLoadError, match=r"DENOISER needs a package .* pip install -e '\.\[gguf\]'"):
        describe_model(folders["flux"], "cpu", denoiser=str(tmp_path / "model.gguf"))
