"""The embedded model, as it lies in the repository."""

import json

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline

from diffusion.loading.folder import PRETRAINED
from diffusion.loading.model import load_model
from diffusion.training.measures import diversity


@pytest.fixture(scope="module")
def model():
    return load_model()


def middle_colour(image):
    return np.asarray(image).astype(float)[32:96, 32:96].mean((0, 1))


def test_embedded_model_draws_the_colours_of_the_prompt(model):
    images = model.generate(["red apple, 3d", "blue apple, 3d", "green apple, 3d"], seeds=[0, 0, 0])
    assert [int(middle_colour(image).argmax()) for image in images] == [0, 2, 1]


def test_embedded_model_draws_plain_backgrounds(model):
    white, pink = model.generate(["panda, 3d", "panda on a pink background, 3d"], seeds=[1, 1])
    corners = [np.asarray(image).astype(float)[:8, :8].mean((0, 1)) for image in (white, pink)]
    assert corners[0].min() > 235
    assert corners[1][0] - corners[1][1] > 30


def test_embedded_model_keeps_more_of_an_image_the_later_it_starts(model):
    (apple,) = model.generate(["red apple, 3d"], seeds=[0])

    def difference(start_step):
        (similar,) = model.generate(["blue apple, 3d"], seeds=[1], image=apple, sampler="ddim", steps=20, start_step=start_step)
        return np.abs(np.asarray(similar).astype(float) - np.asarray(apple)).mean()

    assert difference(18) < difference(10) < difference(0)


def test_embedded_model_has_its_own_defaults(model):
    request = model.request("a fox")
    teachers = model.request("a fox", negative_prompt="snow")
    assert (request.width, request.height, request.steps, request.sampler, request.upscale) == (128, 128, 4, "distilled", 2)
    assert (teachers.steps, teachers.sampler, teachers.guidance_scale) == (12, "dpm++", 3.0)
    assert (request.variety, model.request("a fox", steps=12).variety) == (55, 0)
    assert model.name == "darkroom-embedded"
    assert "small model" in model.defaults.about


@pytest.mark.parametrize(
    ("prompt", "settings", "wanted"),
    [
        ("panda", {"count": 4}, ("", "flat")),
        ("panda", {"count": 2, "variety": 20}, ("", "flat")),
        ("flatbread", {"count": 4}, ("", "flat")),
        ("panda", {}, ()),
        ("panda", {"count": 4, "variety": 0}, ()),
        ("panda, Flat", {"count": 4}, ()),
        ("panda, pink background", {"count": 4}, ()),
        ("panda", {"count": 4, "negative_prompt": "snow"}, ()),
        ("panda", {"count": 4, "steps": 12}, ()),
        ("{panda|fox}", {"count": 4, "variants": ("panda", "fox")}, ()),
    ],
)
def test_several_plain_pictures_have_the_styles_of_a_set(model, prompt, settings, wanted):
    request = model.request(prompt, seed=1, **settings)
    assert model.in_set_styles(request).styles == model.in_set_styles(request.replace(styles=("ink",))).styles == wanted


def test_embedded_model_follows_each_style(model):
    styles = model.defaults.styles
    plain, *styled = model.generate(["panda", *(f"panda, {style}" for style in styles)], seeds=[1] * (1 + len(styles)), steps=8)
    for style, image in zip(styles, styled, strict=True):
        assert np.abs(np.asarray(image).astype(float) - np.asarray(plain)).mean() > 15, style


def test_embedded_pictures_of_one_prompt_differ_more_with_variety(model):
    prompts = [prompt for prompt in ("fox", "red apple", "happy robot") for _ in range(3)]

    def spread(variety):
        return diversity(model.generate(prompts, seeds=[1, 2, 3] * 3, steps=8, variety=variety), 3)

    assert spread(100) > spread(50) > spread(0)


def test_embedded_classifier_is_small_and_knows_groups_and_colours(model):
    size = sum(path.stat().st_size for path in (PRETRAINED / "classifier").iterdir())
    assert size <= 3_000_000
    assert {"animal", "food", "face", "red", "blue", "green", "black"} <= set(model.guide_labels)


def test_embedded_classifier_guides_to_a_colour(model):
    def redness(**settings):
        images = model.generate(["car, 3d"] * 2, seeds=[1, 2], steps=10, **settings)
        red, green, blue = np.mean([middle_colour(image) for image in images], 0)
        return red - (green + blue) / 2

    assert redness(guide_label="red", label_scale=20.0) > redness() + 15


def test_embedded_model_loads_in_diffusers():
    pipeline = StableDiffusionPipeline.from_pretrained(PRETRAINED)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"


def test_embedded_model_is_small_and_names_no_machine():
    files = [path for path in PRETRAINED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 65_000_000
    for path in PRETRAINED.rglob("*config.json"):
        assert not any(isinstance(value, str) and "/" in value for value in json.loads(path.read_text()).values()), path


def test_model_card_names_sources_and_licences():
    card = (PRETRAINED / "MODEL_CARD.md").read_text()
    for word in ("CC-BY-4.0", "Apache-2.0", "MIT", "Twemoji", "Noto", "Fluent", "Limits"):
        assert word in card
