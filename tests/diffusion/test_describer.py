import pytest
from PIL import Image

from diffusion.describer import describe, load_describer
from diffusion.errors import GenerationError, ModelLoadError
from diffusion.serving.engine import Engine
from tests.support.describing import WORDS, build_captioner, build_tagger

RED = Image.new("RGB", (40, 30), "red")


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    return load_describer(str(build_captioner(tmp_path_factory.mktemp("captioner"))), "cpu")


def test_captioner_describes_a_picture_in_several_ways(captioner):
    prompts = describe(captioner, RED)
    assert 1 <= len(prompts) <= 4 and len(set(prompts)) == len(prompts)
    assert all(set(prompt.split()) <= set(WORDS) for prompt in prompts)
    assert describe(captioner, RED) == prompts


def test_wd_tagger_lists_the_tags_that_it_is_sure_of_without_ratings(tmp_path):
    tags = ("general", "red_apple", "fox_(animal)", "^_^", "rain")
    tagger = load_describer(str(build_tagger(tmp_path, tags)), "cpu")
    assert describe(tagger, RED)[0] == "red apple, fox \\(animal\\), ^_^"


def test_wd_tagger_sees_a_square_in_blue_green_red(tmp_path):
    tagger = load_describer(str(build_tagger(tmp_path)), "cpu")
    seen = []
    network = tagger.network
    tagger.network = lambda pixels: seen.append(pixels) or network(pixels)
    tagger.network.device, tagger.network.dtype, tagger.network.config = network.device, network.dtype, network.config
    describe(tagger, RED)
    blue, _, red = seen[0][0, :, 16, 16]
    assert red > blue and (seen[0][0, :, 0] > 0.9).all()  # white above the picture


@pytest.mark.parametrize(
    ("problem_type", "first"), [("multi_label_classification", "cat, dog"), ("single_label_classification", "cat")]
)
def test_tagger_reads_the_labels_of_its_configuration(tmp_path, problem_type, first):
    folder = build_tagger(tmp_path, ("cat", "dog", "rain"), is_wd=False, problem_type=problem_type)
    assert describe(load_describer(str(folder), "cpu"), RED)[0] == first


def test_load_describer_refuses_other_networks_and_pickles(tmp_path, captioner):
    folder = build_tagger(tmp_path / "other", is_wd=False)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("ForImageClassification", "Model"))
    with pytest.raises(ModelLoadError, match="does not describe pictures"):
        load_describer(str(folder), "cpu")
    pickled = build_tagger(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ModelLoadError):
        load_describer(str(pickled), "cpu")
    short = build_tagger(tmp_path / "short")
    (short / "selected_tags.csv").write_text("tag_id,name,category,count\n1,red,0,1\n")
    with pytest.raises(ModelLoadError, match="names 1 tags"):
        load_describer(str(short), "cpu")


async def test_engine_describes_between_steps(tiny_model, captioner):
    async with Engine(tiny_model) as engine:
        assert await engine.describe_image(RED, captioner) == describe(captioner, RED)
        with pytest.raises(GenerationError, match="could not describe"):
            await engine.describe_image(RED, lambda image: 1 / 0)
