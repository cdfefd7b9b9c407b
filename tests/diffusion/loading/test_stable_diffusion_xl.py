"""Stable Diffusion XL as a folder and a single file."""

import json
import re
import shutil

import pytest
import torch
from PIL import ImageChops
from safetensors.torch import load_file, save_file

from diffusion.cluster.schema import RemoteModel, encode_spec
from diffusion.errors import ModelLoadError
from diffusion.loading.model import load_model
from diffusion.loading.single_file import PUBLISHED, load_checkpoint
from diffusion.loading.single_file_settings import read_settings
from diffusion.request import ImageRequest
from tests.support.original_layout import write_checkpoint
from tests.support.tiny_xl import build_components, model_of, save


@pytest.fixture(scope="module")
def tiny_xl():
    return model_of(build_components())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(build_components(), tmp_path_factory.mktemp("xl") / "model")


def test_load_model_draws_a_folder_as_its_parts_do(folder, tiny_xl):
    loaded = load_model(folder, "cpu", torch.float32)
    settings = {"seeds": [4], "steps": 3, "sampler": "euler"}
    drawn = [model.generate(["a fox"], **settings)[0] for model in (loaded, tiny_xl)]
    assert max(most for _, most in ImageChops.difference(*drawn).getextrema()) <= 1  # weights elsewhere may round otherwise
    assert (loaded.defaults.steps, loaded.defaults.guidance_scale) == (30, 5.0)


def test_load_model_keeps_the_autoencoder_in_float32_where_it_overflows(folder):
    family = load_model(folder, "cpu", torch.float16).family
    assert (family.dtype, family.pixel_dtype, family.text_encoder_2.dtype) == (torch.float16, torch.float32, torch.float16)


def test_load_model_reads_force_zeros_from_the_index(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    index = copy / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"force_zeros_for_empty_prompt": False}))
    request = ImageRequest("a fox", width=32, height=32, guidance_scale=5.0)
    family = load_model(copy, "cpu", torch.float32).family
    assert family.rows(request, family.encode("a fox", request)).tensors["prompt_embeds"][0].any()


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("model_index.json", {"requires_aesthetics_score": True}, "it is the refiner of Stable Diffusion XL"),
        ("model_index.json", {"text_encoder": [None, None]}, "it is the refiner of Stable Diffusion XL"),
        ("unet/config.json", {"in_channels": 9}, "it is a model for inpainting only: its UNet reads 9 channels and makes 4"),
        ("unet/config.json", {"in_channels": 8}, "it is a model that edits pictures by instructions"),
        ("unet/config.json", {"addition_embed_type": None}, "its UNet takes neither a pooled text nor a size"),
        ("unet/config.json", {"addition_embed_type": "image"}, "more than one text encoder tells"),
        ("unet/config.json", {"cross_attention_dim": 24}, "its UNet reads 24 numbers a token, and its text encoders make 40"),
        (
            "unet/config.json",
            {"projection_class_embeddings_input_dim": 60},
            "its UNet reads 60 numbers of pooled text",
        ),
        ("unet/config.json", {"sample_size": [4, 8]}, "its UNet was trained with oblong pictures"),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "whose noise schedule is not"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "its prediction_type is 'sample'"),
        ("model_index.json", {"tokenizer_2": [None, None]}, "its tokenizer_2 is missing"),
    ],
)
def test_load_model_refuses_by_name_before_any_weights(folder, tmp_path, file, changes, words):
    copy = shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    path = copy / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelLoadError, match=re.escape(words)) as caught:
        load_model(copy, "cpu")
    print(str(caught.value).partition(": ")[2])


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The configurations by which a single file is read, of toy size, with a model of them."""
    folder = tmp_path_factory.mktemp("published")
    save(build_components(tokenizer_folder=PUBLISHED / "tokenizer", layers_per_block=2), folder / "sdxl")
    return folder


@pytest.fixture(scope="module")
def weights(published, tmp_path_factory):
    return load_file(write_checkpoint(published / "sdxl", tmp_path_factory.mktemp("whole") / "whole.safetensors"))


@pytest.fixture
def narrow(published, monkeypatch):
    monkeypatch.setattr(load_checkpoint, "__defaults__", (None, published))


@pytest.fixture(scope="module")
def whole(published):
    return load_model(published / "sdxl", "cpu", torch.float32)


def test_count_tokens_takes_the_tokenizer_that_makes_more(whole):
    assert [len(tokenizer("a fox!!!!").input_ids) - 2 for tokenizer in whole.tokenizers] == [3, 6]
    remote = RemoteModel("http://replica", encode_spec(whole, can_screen=False))
    assert whole.count_tokens("a fox!!!!") == remote.count_tokens("a fox!!!!") == 6


def test_both_encoders_get_as_many_chunks_where_their_tokenizers_differ(whole):
    text = "fox " * 60 + "!!!! " * 10  # in one tokenizer 70 tokens, in the other 100
    request = whole.request(text)
    conditions = whole.family.encode(text, request).tensors
    empty = whole.family.encode("", request).tensors["prompt_embeds"]
    assert conditions["prompt_embeds"].shape[1] == 2 * 77
    assert torch.equal(conditions["prompt_embeds"][:, 77:, :16], empty[..., :16])
    assert not torch.equal(conditions["prompt_embeds"][:, 77:, 16:], empty[..., 16:])
    assert len(whole.family.rows(request, whole.family.encode(text, request))) == 2


def test_load_checkpoint_equals_the_folder(whole, weights, narrow, tmp_path):
    file = tmp_path / "some model.safetensors"
    save_file(weights, file)
    single = load_model(file, "cpu", torch.float32)
    for name in ("denoiser", "vae", "text_encoder", "text_encoder_2"):
        ours, theirs = (getattr(model.family, name).state_dict() for model in (single, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    settings = {"seeds": [1], "steps": 2, "negative_prompt": "a dog!"}
    first, second = (model.generate(["a fox, naïve!"], **settings)[0] for model in (single, whole))
    assert max(abs(a - b) for a, b in zip(first.tobytes(), second.tobytes(), strict=True)) <= 1
    assert single.name == "some model" and single.sample_side == 32


@pytest.mark.parametrize(
    ("more", "prediction", "edm"),
    [
        pytest.param(["v_pred", "ztsnr"], "v_prediction", False, id="v_pred and ztsnr"),
        pytest.param(["edm_mean", "edm_std"], "epsilon", True, id="EDM"),
    ],
)
def test_load_checkpoint_reads_the_kind_of_prediction(weights, narrow, tmp_path, more, prediction, edm):
    path = tmp_path / "model.safetensors"
    save_file(weights | {name: torch.ones(4) if edm else torch.empty(0) for name in more}, path)
    family = load_model(path, "cpu", torch.float32).family
    assert (family.prediction_type, family.uses_edm) == (prediction, edm)
    assert bool(family.scheduler_config.get("rescale_betas_zero_snr")) is bool("ztsnr" in more)
    assert family.vae.config.scaling_factor == (0.5 if edm else 0.13025)


@pytest.mark.parametrize(("scaling", "prediction"), [("VScaling", "v_prediction"), ("EpsScaling", "epsilon")])
def test_read_settings_reads_the_scaling_of_a_denoiser(tmp_path, scaling, prediction):
    target = f"{{target: sgm.modules.diffusionmodules.denoiser_scaling.{scaling}}}"
    denoiser = f"{{denoiser_config: {{params: {{scaling_config: {target}}}}}}}"
    (tmp_path / "model.yaml").write_text(f"model:\n  params: {denoiser}\n")
    assert read_settings(tmp_path / "model.safetensors", [], {}).scheduler == {"prediction_type": prediction}


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", (16, 9, 3, 3), "it is a model for inpainting only"),
        ("model.diffusion_model.label_emb.0.0.weight", (64, 7), "its unet is not that of Stable Diffusion XL"),
        (
            "conditioner.embedders.1.model.positional_embedding",
            (77, 8),
            "its text_encoder_2 is not that of",
        ),
    ],
)
def test_load_checkpoint_refuses_another_part(weights, narrow, tmp_path, name, shape, words):
    save_file(weights | {name: torch.zeros(shape)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelLoadError, match=re.escape(words)):
        load_model(tmp_path / "other.safetensors", "cpu", torch.float32)


def test_load_checkpoint_refuses_an_autoencoder_of_another_family(weights, tiny_folder, narrow, tmp_path):
    pruned = {name: weight for name, weight in weights.items() if not name.startswith("first_stage_model.")}
    save_file(pruned, tmp_path / "pruned.safetensors")
    with pytest.raises(ModelLoadError, match=r"its scaling_factor is 0\.18215, and 0\.13025 is needed"):
        load_model(tmp_path / "pruned.safetensors", "cpu", torch.float32, vae=str(tiny_folder))
