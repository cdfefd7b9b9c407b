"""Single files load as what they are, or are refused by a sentence that says what they are."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.errors import ModelLoadError
from diffusion.loading import single_file
from diffusion.loading.model import load_model
from diffusion.loading.random_weights import write_configs, write_model
from diffusion.loading.single_file import load_checkpoint, load_vae
from diffusion.loading.single_file_settings import ZERO_SNR, read_settings
from tests.support.original_layout import write_checkpoint
from tests.support.tiny_files import FILES, UNET, write_file

SD1 = "CompVis/stable-diffusion-v1-4"


@pytest.mark.parametrize("name", FILES)
def test_load_model_says_what_a_file_is_by_its_header(tmp_path, monkeypatch, name):
    monkeypatch.setattr(single_file, "load_file", None)  # reads the weights
    path = write_file(tmp_path, name)
    with pytest.raises(ModelLoadError) as caught:
        load_model(path, "cpu")
    assert str(caught.value) == f"The model {str(path)!r} cannot be loaded: {FILES[name][1]}"


@pytest.mark.parametrize(
    ("name", "start", "words"),
    [
        ("model.gguf", b"GGUF\x03\x00", "it is in GGUF"),
        ("model.GGUF", None, "it is in GGUF"),
        ("model.safetensors", b"GGUF\x03\x00", "it is in GGUF"),
        ("model.safetensors", b"PK\x03\x04 archive", "a pickle can run any code"),
        ("model.pt", b"\x80\x02}", "a pickle can run any code"),
        ("model.onnx", b"\x08\x07", "this one ends in .onnx"),
        ("model.SAFETENSORS", b"\x05\x00\x00", "no complete safetensors file"),
        ("model.safetensors", b'\x40\x00\x00\x00\x00\x00\x00\x00{"a":', "Copy or download it again"),
        ("model.safetensors", None, "there is no such file"),
    ],
)
def test_load_model_says_which_format_a_file_has(tmp_path, name, start, words):
    if start is not None:
        (tmp_path / name).write_bytes(start)
    with pytest.raises(ModelLoadError, match=re.escape(words)):
        load_model(tmp_path / name, "cpu")


@pytest.mark.parametrize(
    ("names", "metadata", "step", "beside", "side", "scheduler"),
    [
        pytest.param([], {}, None, None, None, {}, id="plain"),
        pytest.param(["v_pred"], {}, None, None, None, {"prediction_type": "v_prediction"}, id="v_pred"),
        pytest.param(["v_pred", "ztsnr"], {}, None, None, None, {"prediction_type": "v_prediction"} | ZERO_SNR, id="ztsnr"),
        pytest.param([], {}, None, '{parameterization: "v"}', None, {"prediction_type": "v_prediction"}, id="yaml v"),
        pytest.param([], {}, None, "{timesteps: 1000}", None, {"prediction_type": "epsilon"}, id="yaml"),
        pytest.param([], {}, 875000, None, 512, {"prediction_type": "epsilon"}, id="2 base"),
        pytest.param([], {}, 220000, None, 512, {"prediction_type": "epsilon"}, id="2.1 base"),
        pytest.param([], {}, 110000, None, None, {}, id="2.1"),
        pytest.param(
            [], {"modelspec.resolution": "640x640"}, 875000, None, 640, {"prediction_type": "epsilon"}, id="told size"
        ),
        pytest.param([], {"modelspec.resolution": "unknown"}, None, None, None, {}, id="unknown size"),
        pytest.param([], {"modelspec.resolution": "0x0"}, None, None, None, {}, id="no size"),
        pytest.param([], {"modelspec.resolution": "9" * 5000}, None, None, None, {}, id="endless size"),
        pytest.param([], {"modelspec.prediction_type": "?"}, None, None, None, {}, id="unknown prediction"),
        pytest.param([], {"modelspec.prediction_type": " V "}, None, None, None, {"prediction_type": "v_prediction"}, id="V"),
    ],
)
def test_read_settings_takes_the_surest(tmp_path, names, metadata, step, beside, side, scheduler):
    path = tmp_path / "some.model.safetensors"
    if beside:
        (tmp_path / "some.model.yaml").write_text(f"model:\n  params: {beside}\n")
    settings = read_settings(path, names, metadata, global_step=step)
    assert (settings.side, settings.scheduler) == (side, scheduler)


@pytest.mark.parametrize("text", ["model: [", "- a", "", "model:\n  params: {parameterization: x0}", "model: {params: 3}"])
def test_read_settings_refuses_a_damaged_yaml(tmp_path, text):
    (tmp_path / "model.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"model\.yaml beside it"):
        read_settings(tmp_path / "model.safetensors", [], {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("single") / "model", SD1)


@pytest.fixture(scope="module")
def weights(folder, tmp_path_factory):
    return load_file(write_checkpoint(folder, tmp_path_factory.mktemp("whole") / "whole.safetensors"))


@pytest.fixture
def narrow(tmp_path, monkeypatch):
    write_configs(tmp_path / "published" / "sd1", "sd1")
    monkeypatch.setattr(load_checkpoint, "__defaults__", (None, tmp_path / "published"))


def without_vae(weights):
    return {name: weight for name, weight in weights.items() if not name.startswith("first_stage_model.")}


def test_load_model_reads_old_names_empty_tensors_and_capital_suffixes(weights, folder, narrow, tmp_path):
    renamed = {name.replace("transformer.text_model.", "transformer."): weight for name, weight in weights.items()}
    path = tmp_path / "model.SAFETENSORS"
    save_file(renamed | {"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}, path)
    model = load_model(path, "cpu", torch.float32)
    assert model.family.prediction_type == "v_prediction"
    assert model.family.alpha_bar(torch.tensor([999.0])).item() == pytest.approx(0, abs=1e-6)
    request = model.request("a fox")
    ours = model.family.encode("a fox", request).tensors["prompt_embeds"]
    theirs = load_model(folder, "cpu", torch.float32).family.encode("a fox", request).tensors["prompt_embeds"]
    assert torch.equal(ours, theirs)


def test_load_model_reads_defaults_beside_a_file_and_from_its_title(weights, narrow, tmp_path):
    save_file(weights, tmp_path / "model.safetensors", {"modelspec.title": "Some LCM"})
    (tmp_path / "model.darkroom.json").write_text('{"steps": 5, "clip_skip": 2}')
    request = load_model(tmp_path / "model.safetensors", "cpu", torch.float32).request("a fox")
    assert (request.steps, request.sampler, request.guidance_scale, request.clip_skip) == (5, "lcm", 1.0, 2)


def test_load_model_names_the_setting_for_a_file_without_autoencoder(weights, tmp_path):
    save_file(without_vae(weights), tmp_path / "pruned.safetensors")
    with pytest.raises(ModelLoadError, match=r"it has no autoencoder \(VAE\), as many pruned files\. Set VAE to one"):
        load_model(tmp_path / "pruned.safetensors", "cpu")


def test_load_checkpoint_takes_the_autoencoder_that_vae_names(weights, folder, narrow, tmp_path):
    save_file(without_vae(weights), tmp_path / "pruned.safetensors")
    parts = load_checkpoint(tmp_path / "pruned.safetensors", torch.float32, str(folder))
    assert_same_vae(parts["vae"], folder)


def assert_same_vae(vae, folder):
    theirs = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(weight, theirs[name]) for name, weight in vae.state_dict().items())


@pytest.mark.parametrize("kind", ["folder", "file", "file without prefix"])
def test_load_vae_reads_folders_and_files(weights, folder, narrow, tmp_path, kind):
    own = {name: weight for name, weight in weights.items() if name not in without_vae(weights)}
    file = tmp_path / "vae.safetensors"
    save_file(
        {name.removeprefix("first_stage_model.") if "without" in kind else name: each for name, each in own.items()}, file
    )
    vae = load_vae(str(folder / "vae" if kind == "folder" else file), torch.float32, tmp_path / "published" / "sd1")
    assert_same_vae(vae, folder)


@pytest.mark.parametrize(("vae", "words"), [("nowhere/at/all", "there is no such folder or file"), ("model.pt", "pickle")])
def test_load_vae_says_what_is_wrong(vae, words):
    with pytest.raises((ModelLoadError, ValueError), match=words):
        load_vae(vae, torch.float32)


@pytest.mark.parametrize(
    ("tensor", "shape", "words"),
    [
        ("input_blocks.0.0.weight", (40, 9, 3, 3), "it is a model for inpainting only: its UNet reads 9 channels"),
        ("input_blocks.0.0.weight", (40, 8, 3, 3), "it is a model that edits pictures by instructions"),
        ("label_emb.0.0.weight", (160, 256), "(class_embed_type is 'of 256 numbers')"),
        ("time_embedding.cond_proj.weight", (40, 256), "as latent consistency models do"),
        ("input_blocks.1.0.in_layers.2.weight", (7, 40, 3, 3), "its unet is not that of"),
    ],
)
def test_load_model_refuses_another_unet(weights, narrow, tmp_path, tensor, shape, words):
    save_file(weights | {f"{UNET}.{tensor}": torch.zeros(shape)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelLoadError, match=re.escape(words)):
        load_model(tmp_path / "other.safetensors", "cpu", torch.float32)
