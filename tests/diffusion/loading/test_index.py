import pytest

from diffusion.errors import ModelLoadError
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.index import family_of, is_single_file


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    "index",
    [
        pytest.param('{"_class_name": "StableDiffusionPipeline"}', id="its own"),
        pytest.param('{"_class_name": "StableDiffusionImg2ImgPipeline"}', id="with the same parts"),
        pytest.param("{}", id="without a class"),
        pytest.param(None, id="missing"),
    ],
)
def test_family_of_finds_stable_diffusion(folder, index):
    if index is not None:
        (folder / "model_index.json").write_text(index)
    assert family_of(str(folder)) is StableDiffusion


@pytest.mark.parametrize(
    ("index", "words"),
    [
        pytest.param('{"_class_name": "UnknownPipeline"}', "it is a model for UnknownPipeline of diffusers", id="unknown"),
        pytest.param("{", r"its model_index.json is damaged", id="damaged"),
        pytest.param("[]", r"its model_index.json holds no JSON object", id="no object"),
        pytest.param('{"vae": ["diffusers", "AutoencoderTiny"]}', "its vae is of the kind AutoencoderTiny", id="another vae"),
        pytest.param('{"controlnet": ["diffusers", "ControlNetModel"]}', "the part controlnet", id="one part more"),
        pytest.param('{"text_encoder": [null, null]}', "its text_encoder is missing", id="one part less"),
    ],
)
def test_family_of_refuses_what_it_does_not_understand(folder, index, words):
    (folder / "model_index.json").write_text(index)
    with pytest.raises(ModelLoadError, match=words):
        family_of(str(folder))


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("readme.txt", "", "it has no model_index.json, so it is no model"),
        ("some model.safetensors", "", "If some model.safetensors in it is a model in one file, name the path of that file"),
        ("model-Q4_K.gguf", "", "it is in GGUF"),
        ("pytorch_lora_weights.safetensors", "", "it is a LoRA"),
        ("config.json", '{"_class_name": "UNet2DConditionModel"}', "it is one part of a model"),
        ("config.json", '{"architectures": ["Qwen3ForCausalLM"]}', "a model of transformers .Qwen3ForCausalLM."),
        ("modular_model_index.json", '{"_blocks_class_name": "Flux3Blocks"}', "it is a modular model .Flux3Blocks."),
    ],
)
def test_family_of_says_what_a_folder_is_instead(tmp_path, file, text, words):
    (tmp_path / file).write_text(text)
    with pytest.raises(ModelLoadError, match=words):
        family_of(str(tmp_path))


def test_family_of_finds_a_registered_family(folder, monkeypatch):
    class Another(StableDiffusion):
        pipeline = "AnotherPipeline"

    monkeypatch.setattr("diffusion.loading.index.FAMILIES", {Another.pipeline: Another})
    (folder / "model_index.json").write_text('{"_class_name": "AnotherPipeline"}')
    assert family_of(str(folder)) is Another


@pytest.mark.parametrize(
    ("source", "single"),
    [
        ("model.safetensors", True),
        ("model.SAFETENSORS", True),
        ("model.ckpt", True),
        ("model.gguf", True),
        ("owner/model", False),
        ("owner/model-2.1", False),
    ],
)
def test_is_single_file_goes_by_the_suffix(source, single):
    assert is_single_file(source) is single
