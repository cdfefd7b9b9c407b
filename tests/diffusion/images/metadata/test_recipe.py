import json
import re
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion.errors import InvalidImageError
from diffusion.images.io import to_png
from diffusion.images.metadata.adaptation import adapt
from diffusion.images.metadata.recipe import Recipe
from diffusion.images.metadata.registry import read_recipe
from diffusion.images.parameters import format_parameters
from diffusion.lora.catalogue import Lora
from diffusion.request import SAMPLER_NAMES, ImageRequest, Limits
from diffusion.text import Text
from tests.support.foreign_metadata import FROM_A1111, node, with_texts, workflow

LIMITS = Limits(side=256, steps=50, count=4)


def of_graph(graph):
    return read_recipe(with_texts(prompt=json.dumps(graph), workflow="{}"))


class Model:
    name, grid, guide_labels, max_tokens = "tiny", 8, ("red",), 6
    loras = MappingProxyType({"Ink": Lora("Ink"), "old": Lora("old", problem=Text("no"))})
    samplers = MappingProxyType(dict.fromkeys(SAMPLER_NAMES, 1000))
    max_clip_skip, chunk_tokens, embeddings = 1, 0, MappingProxyType({"ink": 1})
    reads_negative_prompt = True

    def count_tokens(self, text):
        return len(text.split())


def test_read_recipe_reads_own_pictures():
    request = ImageRequest("a fox", "a dog", 64, 32, 9, 3.5, "dpm++", 11, upscale=2, guide_label="red")
    recipe = read_recipe(to_png(Image.new("RGB", (8, 8)), format_parameters(request, 11, "tiny")))
    assert (recipe.model, recipe.sampler) == ("tiny", "DPM++ 2M Karras")
    found, notes = adapt(recipe, Model(), LIMITS)
    assert ImageRequest(**found, seed=11) == request and notes == []


def test_adapt_leaves_out_a_negative_prompt_that_the_model_does_not_read():
    request = ImageRequest("a fox", "a dog", 64, 32, 9, 3.5, "dpm++", 11)
    recipe = read_recipe(to_png(Image.new("RGB", (8, 8)), format_parameters(request, 11, "tiny")))
    found, notes = adapt(recipe, type("Distilled", (Model,), {"reads_negative_prompt": False})(), LIMITS)
    assert found["negative_prompt"] == ""
    assert [str(note) for note in notes] == ["This model reads no negative prompt, so it is left out."]


def test_adapt_notes_what_a1111_settings_lack_here():
    recipe = read_recipe(with_texts(parameters=FROM_A1111))
    assert recipe.settings["seed"] == 1871029 and recipe.model == "dreamshaper_8"
    assert recipe.settings["negative_prompt"].startswith("blurry") and recipe.settings["negative_prompt"].endswith("anatomy")
    found, notes = adapt(recipe, Model(), LIMITS)
    assert found == {
        "prompt": "a red fox in the snow",
        "negative_prompt": "blurry, low quality, bad anatomy",
        "width": 208,
        "height": 312,
        "steps": 28,
        "guidance_scale": 6.5,
        "sampler": "dpm++_2m_sde_karras",
        "upscale": 1,
    }
    said = " ".join(map(str, notes))
    for word in ("prompt is too long", "LoRAs", "208x312 instead of 512x768", "dreamshaper_8"):
        assert word in said


def test_read_recipe_reads_comfyui_graphs():
    recipe = of_graph(workflow())
    assert recipe == Recipe(
        {
            "prompt": "a glass bottle with a galaxy",
            "negative_prompt": "text, watermark",
            "steps": 20,
            "guidance_scale": 8.0,
            "seed": 156680208700286,
            "width": 512,
            "height": 256,
        },
        "v1-5-pruned-emaonly.safetensors",
        "euler",
    )
    found, _ = adapt(recipe, Model(), LIMITS)
    assert (found["sampler"], found["width"], found["height"]) == ("euler", 360, 176) and "seed" not in found


def test_read_graph_follows_links_through_other_nodes():
    graph = workflow(
        **{
            "5": node("EmptyLatentImage", width=["13", 0], height=256),
            "6": node("CLIPTextEncode", text=["12", 0], clip=["10", 1]),
            "10": node("LoraLoader", lora_name="x.safetensors", model=["4", 0], clip=["4", 1]),
            "11": node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], strength=1),
            "12": node("PrimitiveString", value="a red fox"),
            "13": node("PrimitiveInt", value=384),
        }
    )
    graph["3"]["inputs"] |= {"model": ["10", 0], "positive": ["11", 0], "negative": ["11", 1], "scheduler": "karras"}
    recipe = of_graph(graph)
    assert (recipe.settings["prompt"], recipe.settings["negative_prompt"]) == ("a red fox", "text, watermark")
    assert (recipe.settings["width"], recipe.model, recipe.sampler) == (384, "v1-5-pruned-emaonly.safetensors", "euler karras")


def test_read_graph_takes_the_first_of_two_samplers():
    refining = node("KSampler", seed=2, steps=8, cfg=8.0, sampler_name="ddim", latent_image=["2", 0], positive=["6", 0])
    upscaled = node("LatentUpscale", samples=["3", 0], width=1024, height=1024)
    recipe = of_graph({"1": refining, "2": upscaled} | workflow())
    assert (recipe.settings["steps"], recipe.settings["width"]) == (20, 512)


@pytest.mark.parametrize(
    ("sampler", "here", "noted"),
    [
        ("euler", "euler", False),
        ("euler_ancestral", "euler_a", False),
        ("Euler a", "euler_a", False),
        ("dpmpp_2m karras", "dpm++", False),
        ("dpmpp_2m", "dpm++", True),
        ("DPM++ 3M SDE Exponential", "dpm++", True),
        ("uni_pc", "unipc", False),
        ("uni_pc_bh2", "unipc", True),
        ("Heun", "heun", False),
        ("lcm", "lcm", False),
        ("dpmpp_2m_sde_gpu karras", "dpm++_2m_sde_karras", False),
        ("DPM++ SDE Karras", "dpm++_sde_karras", False),
        ("euler sgm_uniform", "euler_trailing", False),
        ("res_multistep", None, True),
        ("", None, False),
    ],
)
def test_adapt_chooses_the_nearest_sampler(sampler, here, noted):
    found, notes = adapt(Recipe({"prompt": "fox"}, sampler=sampler), Model(), LIMITS)
    assert found.get("sampler") == here and bool(notes) == noted


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({"steps": 1000}, {"steps": 50}),
        ({"steps": 0}, {"steps": 1}),
        ({"guidance_scale": 99.0}, {"guidance_scale": 30.0}),
        ({"width": 4096, "height": 4}, {"width": 512, "height": 8}),
        ({"guide_label": "purple"}, {}),
        ({"start_step": 4}, {}),
    ],
)
def test_adapt_clamps_values_with_a_note(told, kept):
    found, notes = adapt(Recipe({"prompt": "fox"} | told), Model(), LIMITS)
    assert found.items() >= kept.items() and len(notes) == 1
    ImageRequest(**found)


@pytest.mark.parametrize(
    ("recipe", "note"),
    [
        (Recipe({"prompt": "fox"}, has_source=True), "so I start from noise"),
        (Recipe({"prompt": "fox"}, loras=("ash", "old")), "LoRAs are not offered here, so they are left out: ash, old"),
        (Recipe({"prompt": "fox"}, left_out=("ControlNet", "x" * 99)), f"left out: ControlNet, {'x' * 30}."),
        (Recipe({"prompt": "fox"}, unread=tuple("abcdef")), "cannot read these parts of the file, .*: a, b, c, d, …"),
    ],
)
def test_adapt_notes_what_a_request_has_not(recipe, note):
    _, notes = adapt(recipe, Model(), LIMITS)
    assert len(notes) == 1 and re.search(note, str(notes[0]))


def test_adapt_drops_numbers_that_are_not_finite():
    found, notes = adapt(Recipe({"prompt": "fox", "guidance_scale": float("nan"), "width": 64}), Model(), LIMITS)
    assert notes == [] and found.keys() == {"prompt", "negative_prompt", "upscale"}


@pytest.mark.parametrize(
    "data",
    [
        b"junk",
        with_texts(),
        with_texts(parameters="a fox"),
        with_texts(prompt="{"),
        with_texts(prompt="[" * 100_000),
        with_texts(prompt="[]"),
        with_texts(prompt='{"1": {"class_type": "SaveImage", "inputs": {}}, "2": 7}'),
    ],
    ids=range(7),
)
def test_read_recipe_rejects_pictures_without_settings(data):
    with pytest.raises(InvalidImageError, match="no generation settings"):
        read_recipe(data)


@pytest.mark.parametrize(
    "text", ["A" * 900_000, "(:" * 400_000 + "1" * 200_000, "<lora:" * 100_000, "fox " * 200_000, "x" * 3_000_000], ids=range(5)
)
def test_read_recipe_bounds_the_time_of_long_texts(text):
    with pytest.raises(InvalidImageError):
        read_recipe(with_texts(parameters=text))
    found, _ = adapt(read_recipe(with_texts(parameters=f"{text[:1_500_000]}\nSteps: 3, Seed: 1")), Model(), LIMITS)
    assert len(found["prompt"]) <= 4000


def test_read_graph_ends_in_circular_graphs():
    sampler = node("KSampler", positive=["2", 0], negative=["1", 0], latent_image=["2", 0], steps=["3", 0], model=["2", 0])
    round_ = node("Reroute", conditioning=["2", 0], samples=["2", 0], model=["2", 0])
    recipe = of_graph({"1": sampler, "2": round_, "3": node("Int", value=["3", 0])})
    assert recipe.settings == {"prompt": "", "negative_prompt": "", "width": 8, "height": 8}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "seed",
        "steps",
        "cfg",
        "sampler_name",
        "positive",
        "negative",
        "latent_image",
        "model",
        "text",
        "value",
        "width",
        "samples",
    ]
)
NODES = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from(["KSampler", "EmptyLatentImage", "CLIPTextEncode"]) | JSON,
        "inputs": st.dictionaries(NAMES, JSON | st.tuples(st.sampled_from("1234"), st.integers(0, 2)).map(list)) | JSON,
    }
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from("1234"), NODES | JSON))
def test_read_graph_accepts_or_rejects_any_graph(graph):
    try:
        recipe = of_graph(graph)
    except InvalidImageError:
        return
    found, _ = adapt(recipe, Model(), LIMITS)
    ImageRequest(**found | {"prompt": found["prompt"] or "fox"})


@pytest.mark.parametrize(
    ("recipe", "loras", "left_out"),
    [
        (Recipe({"prompt": "fox <lora:ink:0.5> <lora:ash:1>"}), (("Ink", 0.5),), "ash"),
        (Recipe({"prompt": "fox", "loras": [["Ink", -0.5]]}, loras=("Ink Style v2",)), (("Ink", -0.5),), ""),
        (Recipe({"prompt": "fox"}, loras=("styles\\ink.safetensors",)), (("Ink", 1.0),), ""),
        (Recipe({"prompt": "fox <lora:ink:0.5:0.7>"}), (), "ink"),
        (Recipe({"prompt": "fox <lora:ink:99>"}), (), "ink"),
    ],
    ids=range(5),
)
def test_adapt_keeps_the_loras_that_the_model_has(recipe, loras, left_out):
    settings, notes = adapt(recipe, Model(), LIMITS)
    assert (settings["prompt"], settings.get("loras", ())) == ("fox", loras)
    sentences = [f"These LoRAs are not offered here, so they are left out: {left_out}."] if left_out else []
    assert [str(note) for note in notes] == sentences


def test_read_recipe_reads_the_loras_of_own_pictures():
    request = ImageRequest("a fox", loras=(("Ink", 0.8), ("b c", -1.0)))
    text = format_parameters(request, 1, "tiny")
    assert text.startswith("a fox <lora:Ink:0.8> <lora:b c:-1>\n")
    recipe = read_recipe(to_png(Image.new("RGB", (8, 8)), text))
    assert (recipe.settings["prompt"], recipe.settings["loras"]) == ("a fox", request.loras)


def test_adapt_keeps_weights_and_clip_skip_for_a_model_that_has_them():
    found, _ = adapt(Recipe({"prompt": "(fox:1.3)", "clip_skip": 2}), Model(), LIMITS)
    assert found["prompt"] == "fox" and "clip_skip" not in found
    weighing = type("Weighing", (Model,), {"max_clip_skip": 12, "chunk_tokens": 75})()
    found, notes = adapt(Recipe({"prompt": "(fox:1.3)", "clip_skip": 2}), weighing, LIMITS)
    assert (found["prompt"], found["clip_skip"], notes) == ("(fox:1.3)", 2, [])


def test_adapt_leaves_out_embeddings_that_are_not_offered():
    found, notes = adapt(Recipe({"prompt": "fox embedding:ink (embedding:other:1.2), x"}), Model(), LIMITS)
    assert found["prompt"] == "fox embedding:ink (), x"
    assert [str(note) for note in notes] == ["These embeddings are not offered here, so they are left out: other."]
