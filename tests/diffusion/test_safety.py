"""Checking pictures, with networks made on the spot whose heads were set by hand."""

import re
import threading

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from diffusion.config import EngineConfig
from diffusion.errors import GenerationError, ModelLoadError
from diffusion.safety import load_safety_check, screen
from diffusion.serving.engine import Engine
from tests.support.safety import build_checker, build_classifier

RED, BLUE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (32, 32), "blue")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    return build_classifier(tmp_path_factory.mktemp("classifier"))


def test_classifier_flags_unsafe_labels(classifier):
    check = load_safety_check(classifier=str(classifier), unsafe=["Red", "green"], threshold=0.6)
    red, blue = screen(check, [RED, BLUE])
    assert list(red) == ["Red"] and 0.6 <= red["Red"] <= 1
    assert blue == {}


def test_classifier_flags_from_the_threshold_on(classifier):
    assert screen(load_safety_check(classifier=str(classifier), unsafe=["red"], threshold=1.0), [RED]) == [{}]
    assert screen(load_safety_check(classifier=str(classifier), unsafe=["red"], threshold=0.0), [BLUE]) != [{}]


def test_classifier_flags_several_labels(tmp_path):
    folder = build_classifier(tmp_path, problem_type="multi_label_classification")
    (flags,) = screen(load_safety_check(classifier=str(folder), unsafe=["red", "other"]), [RED])
    assert set(flags) == {"red", "other"}


def test_screen_keeps_the_order_of_many_images(classifier):
    check = load_safety_check(classifier=str(classifier), unsafe=["red"])
    assert [bool(flags) for flags in screen(check, [RED, *[BLUE] * 10, RED])] == [True, *[False] * 10, True]


def test_screen_shrinks_large_images():
    seen = []
    images = [Image.new("RGB", size) for size in ((3000, 1500), (5000, 1), (40, 30))]
    assert screen(lambda images: [seen.append(image.size) or {} for image in images], images) == [{}] * 3
    assert seen == [(1024, 512), (1024, 1), (40, 30)]
    assert [image.size for image in images] == [(3000, 1500), (5000, 1), (40, 30)]


@pytest.mark.parametrize(("flagging", "found"), [(True, [{"unsafe": 1.0}] * 2), (False, [{}, {}])])
def test_load_safety_check_finds_the_models_checker(tmp_path, flagging, found):
    check = load_safety_check(str(build_checker(tmp_path, flagging)))
    assert screen(check, [RED, BLUE]) == found


def test_load_safety_check_reads_published_checkers(tmp_path):
    folder = build_checker(tmp_path, flagging=True)
    file = folder / "safety_checker" / "model.safetensors"
    weights = {re.sub(r"^vision_model\.", "vision_model.vision_model.", name): value for name, value in load_file(file).items()}
    save_file(weights | {"vision_model.vision_model.embeddings.position_ids": torch.arange(5)[None]}, file, {"format": "pt"})
    assert screen(load_safety_check(str(folder)), [RED]) == [{"unsafe": 1.0}]


def test_load_safety_check_may_return_none(tiny_folder, tmp_path):
    assert load_safety_check(str(tiny_folder)) is None
    assert load_safety_check() is None
    assert load_safety_check(str(build_checker(tmp_path, True)), classifier="none") is None


@pytest.mark.parametrize(
    ("unsafe", "words"),
    [(["red", "nsfw"], "SAFETY_LABELS has nsfw. .*: other, red, green"), ([], "SAFETY_LABELS is empty. .*: other, red, green")],
)
def test_load_safety_check_names_the_known_labels(classifier, unsafe, words):
    with pytest.raises(ModelLoadError, match=words):
        load_safety_check(classifier=str(classifier), unsafe=unsafe)


def test_load_safety_check_rejects_a_network_without_labels(tmp_path):
    folder = build_classifier(tmp_path, headless=True)
    with pytest.raises(ModelLoadError, match=r"classifier\.bias"):
        load_safety_check(classifier=str(folder), unsafe=["red"])


def test_load_safety_check_reports_an_empty_folder(tmp_path):
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        load_safety_check(classifier=str(tmp_path), unsafe=["red"])


def test_load_safety_check_rejects_pickles(tmp_path):
    folder = build_classifier(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelLoadError):
        load_safety_check(classifier=str(folder), unsafe=["red"])


def test_classifier_rejects_scores_that_are_not_finite(classifier):
    check = load_safety_check(classifier=str(classifier), unsafe=["red"])
    torch.nn.init.constant_(check.network.classifier.bias, float("nan"))
    with pytest.raises(GenerationError, match="could not be checked"):
        screen(check, [BLUE])


async def test_screen_images_runs_in_the_worker_thread(tiny_model, classifier):
    check = load_safety_check(classifier=str(classifier), unsafe=["red"])
    async with Engine(tiny_model, safety_check=check) as engine:
        assert [bool(flags) for flags in await engine.screen_images([RED, BLUE])] == [True, False]
    async with Engine(tiny_model) as engine:
        assert await engine.screen_images([RED]) == [{}]


async def test_screen_images_reports_a_failing_check(tiny_model):
    def broken(images):
        raise RuntimeError("no kernel")

    async with Engine(tiny_model, safety_check=broken) as engine:
        with pytest.raises(GenerationError, match="could not be checked"):
            await engine.screen_images([RED])


async def test_screen_images_gives_up_a_hung_check(tiny_model):
    go = threading.Event()
    async with Engine(tiny_model, EngineConfig(step_seconds=0.05), safety_check=lambda images: go.wait(10)) as engine:
        with pytest.raises(GenerationError, match="could not be checked"):
            await engine.screen_images([RED])
        go.set()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", '{"model_type": "no such network"}'),
        ("preprocessor_config.json", "{"),
        ("preprocessor_config.json", '{"image_processor_type": "NoSuchProcessor"}'),
        ("model.safetensors", "no tensors"),
    ],
)
def test_load_safety_check_explains_any_broken_file_in_a_sentence(tmp_path, file, content):
    folder = build_classifier(tmp_path)
    (folder / file).write_text(content)
    with pytest.raises(ModelLoadError) as refused:
        load_safety_check(classifier=str(folder), unsafe=["red"])
    assert str(folder) in str(refused.value) and len(str(refused.value).splitlines()) == 1


def test_load_safety_check_explains_a_broken_checker_of_a_model_in_a_sentence(tmp_path):
    folder = build_checker(tmp_path, flagging=True)
    (folder / "safety_checker" / "config.json").write_text("{")
    with pytest.raises(ModelLoadError) as refused:
        load_safety_check(str(folder))
    assert len(str(refused.value).splitlines()) == 1
