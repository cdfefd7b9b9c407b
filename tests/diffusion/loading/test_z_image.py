"""Z-Image as a folder, and what is refused before any weights."""

import json
import shutil

import pytest
import torch

from diffusion.cluster.schema import RemoteModel, encode_spec
from diffusion.errors import ModelLoadError
from diffusion.families.z_image import ZImage
from diffusion.loading.index import family_of
from diffusion.loading.model import load_model
from tests.support.tiny_z_image import build_components, model_of, save

SETTINGS = {"width": 48, "height": 32, "steps": 2, "seeds": [4]}


@pytest.fixture(scope="module")
def components():
    return build_components("base")


@pytest.fixture(scope="module")
def folder(components, tmp_path_factory):
    return save(components, tmp_path_factory.mktemp("z") / "Z-Image")


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder, "cpu", torch.float32)


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_load_model_draws_a_folder_as_its_parts_do(loaded, components):
    ours, theirs = (model.generate(["a fox"], **SETTINGS)[0] for model in (loaded, model_of(components)))
    assert ours.tobytes() == theirs.tobytes()
    assert (loaded.name, loaded.defaults.steps, loaded.defaults.guidance_scale) == ("Z-Image", 40, 4.0)


def test_load_model_knows_turbo_by_its_name(folder, tmp_path):
    turbo = shutil.copytree(folder, tmp_path / "Z-Image-Turbo")
    defaults = load_model(turbo, "cpu", torch.float32).defaults
    assert (defaults.steps, defaults.guidance_scale, defaults.sampler) == (8, 0.0, "flow_euler")


def test_remote_model_counts_the_tokens_of_qwen(loaded):
    remote = RemoteModel("http://replica", encode_spec(loaded, can_screen=False))
    text = "a red fox, naïve!"
    assert remote.count_tokens(text) == loaded.count_tokens(text) == len(text.encode())
    assert remote.rows(remote.request("a fox", guidance_scale=0.5)) == 2


@pytest.mark.parametrize("pipeline", ["ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"])
def test_family_of_finds_z_image(folder, tmp_path, pipeline):
    configs = shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    change(configs / "model_index.json", _class_name=pipeline)
    assert family_of(str(configs)) is ZImage


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("transformer/config.json", {"in_channels": 16}, "its transformer reads 16 numbers a token and makes 16, and its auto"),
        ("transformer/config.json", {"all_patch_size": [2, 4]}, r"its transformer has patches of \(2, 4, 1\)"),
        ("transformer/config.json", {"siglip_feat_dim": 8}, "it is a model that edits pictures"),
        (
            "transformer/config.json",
            {"cap_feat_dim": 8},
            "its transformer reads 8 numbers of text, and its text encoder makes 24",
        ),
        ("scheduler/scheduler_config.json", {"_class_name": "UniPCMultistepScheduler"}, "its scheduler is UniPCMultistepSch"),
        ("model_index.json", {"_class_name": "ZImageOmniPipeline"}, "it is a model for ZImageOmniPipeline of diffusers"),
        (
            "model_index.json",
            {"text_encoder": ["transformers", "Qwen2VLModel"]},
            "its text_encoder is of the kind Qwen2VLModel",
        ),
        ("model_index.json", {"siglip": ["transformers", "Siglip2VisionModel"]}, "it has the part siglip"),
    ],
)
def test_family_of_refuses_what_is_drawn_otherwise(folder, tmp_path, file, values, words):
    configs = shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    change(configs / file, **values)
    with pytest.raises(ModelLoadError, match=words):
        family_of(str(configs))


def test_load_model_misses_the_template_of_chats(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "model")
    (copied / "tokenizer" / "chat_template.jinja").unlink()
    with pytest.raises(ModelLoadError, match="its tokenizer has no chat_template"):
        load_model(copied, "cpu", torch.float32)
