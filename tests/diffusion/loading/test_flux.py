"""FLUX.1 as a folder and a hub id, and what is refused before any weights."""

import json
import shutil

import pytest
import torch

from diffusion.cluster.schema import RemoteModel, encode_spec
from diffusion.errors import InvalidRequestError, ModelLoadError
from diffusion.families.flux import Flux
from diffusion.images.io import read_image
from diffusion.loading.index import family_of
from diffusion.loading.model import load_model
from tests.support.hub_mirror import mirror
from tests.support.tiny_flux import build_components, model_of, save

SETTINGS = {"width": 48, "height": 32, "steps": 2, "seeds": [4]}
CONFIGS = {
    "transformer": "transformer/config.json",
    "scheduler": "scheduler/scheduler_config.json",
    "text_encoder_2": "text_encoder_2/config.json",
    "index": "model_index.json",
}


@pytest.fixture(scope="module")
def components():
    return build_components("schnell")


@pytest.fixture(scope="module")
def folder(components, tmp_path_factory):
    return save(components, tmp_path_factory.mktemp("flux") / "FLUX.1-schnell")


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder, "cpu", torch.float32)


def test_load_model_draws_a_folder_as_its_parts_do(loaded, components):
    ours, theirs = (model.generate(["a fox"], **SETTINGS)[0] for model in (loaded, model_of(components)))
    assert ours.tobytes() == theirs.tobytes()
    assert (loaded.name, loaded.defaults.steps, loaded.defaults.guidance_scale) == ("FLUX.1-schnell", 4, 1.0)


def test_load_model_takes_bfloat16_where_float16_overflows(folder):
    family = load_model(folder, "cpu", torch.float16).family
    assert family.dtype == family.text_encoder_2.dtype == torch.bfloat16


def test_load_model_takes_a_hub_id(folder, user, tmp_path):
    repository = shutil.copytree(folder, tmp_path / "repository")
    (repository / "flux1-schnell.safetensors").write_bytes(b"the same model once more")
    (repository / "tokenizer_2" / "spiece.model").write_bytes(b"the same vocabulary once more")
    (repository / "tokenizer_2" / "chat_template.jinja").write_text("{{ messages }}")
    downloads = []
    with mirror(repository, "someone/FLUX.1-schnell", downloads=downloads) as endpoint:
        arguments = ("fox", "-o", tmp_path / "fox.png", "--model", "someone/FLUX.1-schnell", "--size", 32, 32)
        ended = user("-m", "diffusion", *arguments, HF_ENDPOINT=endpoint)
    assert ended.returncode == 0, ended.stderr
    assert read_image((tmp_path / "fox.png").read_bytes()).size == (32, 32)
    fetched = {name for name, _ in downloads}
    assert fetched >= {"transformer/diffusion_pytorch_model.safetensors", "tokenizer_2/chat_template.jinja"}
    assert not fetched & {"flux1-schnell.safetensors", "tokenizer_2/spiece.model"}


def test_remote_model_counts_the_tokens_of_t5(loaded):
    remote = RemoteModel("http://replica", encode_spec(loaded, can_screen=False))
    text = "a red fox, naïve!"
    assert remote.count_tokens(text) == loaded.count_tokens(text) == len(loaded.family.tokenizer(text).input_ids) - 1
    assert remote.reads_negative_prompt


def test_remote_model_of_dev_refuses_a_negative_prompt():
    remote = RemoteModel("http://replica", encode_spec(model_of(build_components("dev")), can_screen=False))
    with pytest.raises(InvalidRequestError, match="reads no negative prompt"):
        remote.validate(remote.request("a fox", negative_prompt="a dog"))


@pytest.fixture
def configs(folder, tmp_path):
    """A copy of the folder without weights."""
    return shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))


@pytest.mark.parametrize("pipeline", ["FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"])
def test_family_of_finds_flux(configs, pipeline):
    change(configs / CONFIGS["index"], _class_name=pipeline)
    assert family_of(str(configs)) is Flux


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("transformer", {"in_channels": 96, "out_channels": 16}, "it is a model that edits or fills pictures: its transformer"),
        ("transformer", {"in_channels": 64}, "its transformer reads 64 numbers a token and makes 64, and its autoencoder"),
        ("transformer", {"patch_size": 2}, "its transformer has patches of 2 tokens"),
        ("transformer", {"quantization_config": {"quant_method": "bitsandbytes"}}, "its transformer is quantized by bitsandb"),
        ("scheduler", {"_class_name": "DDIMScheduler"}, "its scheduler is DDIMScheduler, and a model of this kind needs"),
        ("scheduler", {"stochastic_sampling": True}, "its scheduler has the setting stochastic_sampling"),
        ("text_encoder_2", {"d_model": 32}, r"its transformer reads 24 numbers of text \(joint_attention_dim\)"),
        ("index", {"_class_name": "FluxControlNetPipeline"}, "it is a model for FluxControlNetPipeline of diffusers"),
        ("index", {"transformer": ["diffusers", "ChromaTransformer2DModel"]}, "its transformer is of the kind Chroma"),
        ("index", {"text_encoder_2": [None, None]}, "its text_encoder_2 is missing"),
    ],
)
def test_family_of_refuses_what_is_drawn_otherwise(configs, part, values, words):
    change(configs / CONFIGS[part], **values)
    with pytest.raises(ModelLoadError, match=words):
        family_of(str(configs))


def test_load_model_misses_a_tokenizer(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "model")
    (copied / "tokenizer_2" / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError, match=r"tokenizer_2 .*tokenizer\.json"):
        load_model(copied, "cpu", torch.float32)
