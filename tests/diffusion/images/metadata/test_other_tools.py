"""SwarmUI, InvokeAI, NovelAI and Fooocus, in the forms of several versions."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.errors import InvalidImageError
from diffusion.images.metadata.recipe import Recipe, UnreadableError
from diffusion.images.metadata.registry import READERS, recipe_of

SETTINGS = {"prompt": "red fox", "negative_prompt": "blur", "steps": 20, "guidance_scale": 7.0, "seed": 5}
SETTINGS |= {"width": 512, "height": 256}
SIZE = {"width": 512, "height": 256}
SWARM = {"prompt": "red fox", "negativeprompt": "blur", "steps": 20, "cfgscale": 7, "seed": 5, "model": "mix", **SIZE}
INVOKE = {"positive_prompt": "red fox", "negative_prompt": "blur", "steps": 20, "cfg_scale": 7, "seed": 5, **SIZE}
NOVEL = {"steps": 20, "scale": 7, "seed": 5, "uc": "blur", **SIZE}
FOOOCUS = {"prompt": "red fox", "negative_prompt": "blur", "steps": "20", "guidance_scale": "7.0", "seed": "5"}
V4 = {"caption": {"base_caption": "red", "char_captions": [{"char_caption": "{fox}", "centers": []}]}}


@pytest.mark.parametrize(
    ("texts", "model", "sampler"),
    [
        ({"parameters": {"sui_image_params": SWARM}}, "mix", ""),
        (
            {"exif:UserComment": {"sui_image_params": SWARM | {"sampler": "dpmpp_2m", "scheduler": "karras"}}},
            "mix",
            "dpmpp_2m karras",
        ),
        ({"invokeai_metadata": INVOKE | {"model": {"name": "mix"}, "scheduler": "dpmpp_2m_k"}}, "mix", "dpmpp_2m_k"),
        ({"invokeai_metadata": INVOKE | {"model": {"model_name": "mix"}, "scheduler": "euler"}}, "mix", "euler"),
        (
            {
                "sd-metadata": {
                    "model_weights": "mix",
                    "image": INVOKE | {"prompt": [{"prompt": "red fox", "weight": 1}], "sampler": "k_euler"},
                }
            },
            "mix",
            "k_euler",
        ),
        (
            {"Software": "NovelAI", "Description": "red fox", "Source": "mix", "Comment": NOVEL | {"sampler": "k_euler"}},
            "mix",
            "k_euler",
        ),
        ({"Software": "NovelAI", "Source": "mix", "Comment": NOVEL | {"prompt": "red {{fox}}"}}, "mix", ""),
        (
            {
                "exif:UserComment": {
                    "Software": "NovelAI",
                    "Source": "mix",
                    "Comment": json.dumps(NOVEL | {"prompt": "red fox", "noise_schedule": "karras", "sampler": "k_dpmpp_2m"}),
                }
            },
            "mix",
            "k_dpmpp_2m karras",
        ),
        ({"parameters": FOOOCUS | {"base_model": "mix", "resolution": "(512, 256)"}, "fooocus_scheme": "fooocus"}, "mix", ""),
        ({"exif:UserComment": FOOOCUS | {"base_model": "mix", "resolution": "(512, 256)"}}, "mix", ""),
        (
            {
                "parameters": {
                    "Prompt": "red fox",
                    "Negative Prompt": "blur",
                    "Steps": 20,
                    "Guidance Scale": 7.0,
                    "Seed": 5,
                    "Resolution": "512×256",
                    "Base Model": "mix",
                    "Sampler": "euler",
                }
            },
            "mix",
            "euler",
        ),
        (
            {
                "parameters": {
                    "Prompt": "red fox",
                    "Negative": "blur",
                    "steps": 20,
                    "cfg": 7,
                    "seed": 5,
                    "base_model_name": "mix",
                    "sampler_name": "euler",
                    "software": "RuinedFooocus",
                    **SIZE,
                }
            },
            "mix",
            "euler",
        ),
        (
            {
                "fooocus_scheme": "a1111",
                "parameters": "red fox\nNegative prompt: blur\nSteps: 20, CFG scale: 7, Seed: 5, Size: 512x256, Model: mix",
            },
            "mix",
            "",
        ),
    ],
)
def test_recipe_of_reads_each_form(texts, model, sampler):
    recipe = recipe_of({name: text if isinstance(text, str) else json.dumps(text) for name, text in texts.items()})
    assert recipe == Recipe(SETTINGS, model, sampler)


def test_novelai_joins_the_captions_of_version_4():
    texts = {"Software": "NovelAI", "Comment": json.dumps(NOVEL | {"v4_prompt": V4, "v4_negative_prompt": V4})}
    found = recipe_of(texts).settings
    assert (found["prompt"], found["negative_prompt"]) == ("red, fox", "red, fox")


@pytest.mark.parametrize(
    ("texts", "has_source", "loras", "left_out"),
    [
        ({"parameters": {"sui_image_params": SWARM | {"initimagecreativity": 0.5, "loras": ["ink"]}}}, True, ("ink",), ()),
        ({"parameters": {"sui_image_params": SWARM | {"controlnetmodel": "canny"}}}, False, (), ("ControlNet",)),
        ({"invokeai_metadata": INVOKE | {"generation_mode": "sdxl_img2img"}}, True, (), ()),
        ({"invokeai_metadata": INVOKE | {"loras": [{"model": {"name": "ink"}, "weight": 1}]}}, False, ("ink",), ()),
        ({"invokeai_metadata": INVOKE | {"controlnets": [{}], "ipAdapters": []}}, False, (), ("ControlNet",)),
        ({"Software": "NovelAI", "Comment": NOVEL | {"request_type": "Img2ImgRequest"}}, True, (), ()),
        ({"parameters": FOOOCUS | {"base_model": "mix", "loras": [["ink", 1]], "refiner_model": "None"}}, False, ("ink",), ()),
        (
            {"parameters": FOOOCUS | {"base_model": "mix", "lora_combined_1": "ink : 0.5", "styles": "['Fooocus V2']"}},
            False,
            ("ink",),
            ("Styles ['Fooocus V2']",),
        ),
    ],
)
def test_recipe_of_names_what_a_request_has_not(texts, has_source, loras, left_out):
    recipe = recipe_of({name: text if isinstance(text, str) else json.dumps(text) for name, text in texts.items()})
    assert (recipe.has_source, recipe.loras, recipe.left_out) == (has_source, loras, left_out)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"parameters": '{"sui_image_params": 7}'}, "SwarmUI wrote it, but I cannot read its sui_image_params"),
        ({"invokeai_metadata": "{"}, "InvokeAI wrote it, but I cannot read its invokeai_metadata"),
        ({"Software": "NovelAI", "Comment": "[]"}, "NovelAI wrote it, but I cannot read its Comment"),
        ({"fooocus_scheme": "fooocus", "parameters": "{"}, "Fooocus wrote it, but I cannot read its parameters"),
        ({"parameters": "a fox"}, "no generation settings"),
        ({}, "no generation settings"),
    ],
)
def test_recipe_of_names_the_tool_whose_texts_it_cannot_read(texts, words):
    with pytest.raises(InvalidImageError, match=words):
        recipe_of(texts)


def test_recipe_of_takes_the_size_of_the_picture_where_none_is_named():
    texts = {"invokeai_metadata": '{"positive_prompt": "fox"}'}
    assert recipe_of(texts, (640, 384)).settings["width"] == 640
    texts = {"invokeai_metadata": '{"positive_prompt": "fox", "width": 64, "height": 32}'}
    assert recipe_of(texts, (640, 384)).settings["width"] == 64


NAMES = "parameters prompt workflow comment Comment Software Description fooocus_scheme invokeai_metadata sd-metadata"
KEYS = [
    *SWARM,
    *INVOKE,
    *NOVEL,
    *FOOOCUS,
    "sui_image_params",
    "base_model",
    "resolution",
    "model",
    "image",
    "loras",
    "v4_prompt",
]
KEYS += ["class_type", "inputs", "positive", "latent_image", "caption", "char_captions", "styles", "Software", "Comment"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["NovelAI", "KSampler", "5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
TEXTS = st.dictionaries(
    st.sampled_from([*NAMES.split(), "exif:UserComment"]),
    VALUES.map(json.dumps) | st.text(max_size=40) | st.sampled_from(["NovelAI", "fooocus", "a1111", "fox\nSteps: 5, Seed: 1"]),
)


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_readers_read_or_refuse_any_texts(texts):
    for reader in READERS:
        try:
            recipe = reader(texts)
        except UnreadableError:
            continue
        assert recipe is None or isinstance(recipe.settings.get("prompt", ""), str)
