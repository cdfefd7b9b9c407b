"""Graphs of ComfyUI: links are followed as the nodes mean them."""

import json

import pytest

from diffusion.errors import InvalidImageError
from diffusion.images.metadata.registry import recipe_of
from tests.support.foreign_metadata import node, workflow


def encode(text):
    return node("CLIPTextEncode", text=text, clip=["4", 1])


def recipe(graph, **nodes):
    return recipe_of({"prompt": json.dumps(graph | nodes)})


def prompt_through(conditioning, *, output=0, **nodes):
    """Return the recipe of a workflow whose positive prompt is an output of ``conditioning``."""
    graph = workflow(**{"a": encode("red fox"), "b": encode("oil painting"), "c": conditioning, **nodes})
    graph["3"]["inputs"]["positive"] = ["c", output]
    return recipe(graph)


TO = {"conditioning_to": ["a", 0], "conditioning_from": ["b", 0]}


@pytest.mark.parametrize(
    ("conditioning", "prompt"),
    [
        (node("ConditioningConcat", **TO), "red fox, oil painting"),
        (node("ConditioningCombine", conditioning_1=["a", 0], conditioning_2=["b", 0]), "red fox, oil painting"),
        (node("ConditioningAverage", **TO, conditioning_to_strength=0.5), "red fox, oil painting"),
        (node("ConditioningAverage", **TO, conditioning_to_strength=1.0), "red fox"),
        (node("ConditioningAverage", **TO, conditioning_to_strength=0), "oil painting"),
        (node("ConditioningZeroOut", conditioning=["a", 0]), ""),
        (node("ConditioningSetArea", conditioning=["b", 0], width=64, height=64, strength=1), "oil painting"),
        (node("ConditioningSetTimestepRange", conditioning=["a", 0], start=0, end=0.5), "red fox"),
        (node("FluxGuidance", conditioning=["a", 0], guidance=3.5), "red fox"),
        (node("CLIPTextEncodeSDXL", text_g="red fox", text_l="red fox", width=9, height=9, clip=["4", 1]), "red fox"),
        (node("CLIPTextEncodeFlux", clip_l="fox", t5xxl=["s", 0], guidance=3, clip=["4", 1]), "fox, a long text"),
        (node("InpaintModelConditioning", positive=["a", 0], negative=["b", 0], pixels=["9", 0]), "red fox"),
        (node("Reroute", value=["a", 0]), "red fox"),
    ],
    ids=lambda value: value["class_type"] if isinstance(value, dict) else None,
)
def test_conditioning_keeps_all_its_prompts(conditioning, prompt):
    read = prompt_through(conditioning, s=node("PrimitiveString", value="a long text"))
    assert (read.settings["prompt"], read.unread) == (prompt, ())
    assert (read.settings["negative_prompt"], read.settings["width"]) == ("text, watermark", 512)


@pytest.mark.parametrize(("output", "prompt"), [(0, "red fox"), (1, "oil painting")])
def test_links_name_the_output_of_a_node_with_two_prompts(output, prompt):
    control = node("ControlNetApplyAdvanced", positive=["a", 0], negative=["b", 0], control_net=["9", 0], strength=1)
    read = prompt_through(control, output=output)
    assert (read.settings["prompt"], read.left_out) == (prompt, ("ControlNet",))


@pytest.mark.parametrize(
    ("string", "prompt"),
    [
        (node("StringConcatenate", string_a="red", string_b=["t", 0], delimiter=" "), "red fox"),
        (node("StringConcatenate", string_a=["n", 0], string_b="snow", delimiter=", "), "red, fox, snow"),
        (node("Text Concatenate", delimiter=", ", clean_whitespace="true", text_a="red", text_c=["t", 0]), "red, fox"),
        (node("JoinStrings", string1="red", string2=["t", 0], delimiter="-"), "red-fox"),
        (node("CR Text Concatenate", text1="red", text2="fox", separator=""), "redfox"),
        (node("StringReplace", string="red cat", find="cat", replace=["t", 0]), "red fox"),
        (node("StringReplace", string="x" * 9999, find="x", replace="y" * 9999), "x" * 9999),
        (node("String Literal", string="red fox"), "red fox"),
        (node("PrimitiveStringMultiline", value="red fox"), "red fox"),
        (node("ShowText|pysssss", text=["t", 0], text_0="fox"), "fox"),
        (node("easy positive", positive="red fox"), "red fox"),
    ],
    ids=lambda value: value["class_type"] if isinstance(value, dict) else None,
)
def test_texts_are_joined_as_their_nodes_say(string, prompt):
    parts = {
        "t": node("PrimitiveString", value="fox"),
        "n": node("StringConcatenate", string_a="red", string_b=["t", 0], delimiter=", "),
    }
    read = prompt_through(encode(["s", 0]), s=string, **parts)
    assert (read.settings["prompt"], read.unread) == (prompt, ())


def test_unknown_nodes_are_named():
    read = prompt_through(encode(["s", 0]), s=node("AskOllama", question=7))
    assert (read.settings["prompt"], read.unread) == ("", ("AskOllama",))
    read = prompt_through(node("MagicConditioning", strength=7))
    assert (read.settings["prompt"], read.unread) == ("", ("MagicConditioning",))


CUSTOM = {
    "4": node("CheckpointLoaderSimple", ckpt_name="mix.safetensors"),
    "5": node("EmptySD3LatentImage", width=512, height=256, batch_size=1),
    "6": encode("red fox"),
    "7": encode("blur"),
    "k": node("KSamplerSelect", sampler_name="euler"),
    "s": node("BasicScheduler", scheduler="karras", steps=20, denoise=1, model=["4", 0]),
    "n": node("RandomNoise", noise_seed=5),
    "g": node("CFGGuider", cfg=7.0, model=["4", 0], positive=["6", 0], negative=["7", 0]),
}
ADVANCED = node(
    "SamplerCustomAdvanced", noise=["n", 0], guider=["g", 0], sampler=["k", 0], sigmas=["s", 0], latent_image=["5", 0]
)
SETTINGS = {
    "prompt": "red fox",
    "negative_prompt": "blur",
    "steps": 20,
    "guidance_scale": 7.0,
    "seed": 5,
    "width": 512,
    "height": 256,
}
LINKS = {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}
PLAIN = {"steps": 20, "cfg": 7, "sampler_name": "euler", "scheduler": "karras"}
LOADER = {"ckpt_name": "mix.safetensors", "positive": "red fox", "negative": "blur"}
LOADER |= {"empty_latent_width": 512, "empty_latent_height": 256, "lora_name": "None"}
EFFICIENT = {"model": ["l", 0], "positive": ["l", 1], "negative": ["l", 2], "latent_image": ["l", 3]}


@pytest.mark.parametrize(
    "nodes",
    [
        {"1": ADVANCED},
        {"1": ADVANCED, "g": node("BasicGuider", model=["4", 0], conditioning=["6", 0])},
        {"1": ADVANCED, "s": node("SplitSigmas", sigmas=["s2", 0], step=9), "s2": CUSTOM["s"]},
        {"1": ADVANCED, "s": node("KarrasScheduler", steps=20, sigma_max=14.6, sigma_min=0.03, rho=7)},
        {"1": node("SamplerCustom", add_noise=True, noise_seed=5, cfg=7, sampler=["k", 0], sigmas=["s", 0], **LINKS)},
        {"1": node("KSampler", seed=5, denoise=1, **PLAIN, **LINKS)},
        {"1": node("KSamplerAdvanced", noise_seed=5, add_noise="enable", start_at_step=0, **PLAIN, **LINKS)},
        {"1": node("KSampler (WAS)", seed=["seed", 0], **PLAIN, **LINKS), "seed": node("Seed", seed=5)},
        {"1": node("KSampler (Efficient)", seed=5, **PLAIN, **EFFICIENT), "l": node("Efficient Loader", **LOADER)},
        {"1": node("KSampler Adv. (Efficient)", noise_seed=5, **PLAIN, **EFFICIENT), "l": node("Efficient Loader", **LOADER)},
        {
            "1": node("KSampler SDXL (Eff.)", noise_seed=5, **PLAIN, sdxl_tuple=["l", 0], latent_image=["l", 1]),
            "l": node("Eff. Loader SDXL", **{"base_" * (name == "ckpt_name") + name: value for name, value in LOADER.items()}),
        },
    ],
    ids=lambda nodes: nodes["1"]["class_type"],
)
def test_samplers_of_the_core_and_of_extensions_are_read(nodes):
    read = recipe(CUSTOM, **nodes)
    basic = nodes.get("g", {}).get("class_type") == "BasicGuider"
    expected = SETTINGS | ({"negative_prompt": ""} if basic else {})
    expected = {name: value for name, value in expected.items() if not (basic and name == "guidance_scale")}
    assert (read.settings, read.model, read.sampler) == (expected, "mix.safetensors", "euler karras")
    assert (read.has_source, read.loras, read.left_out, read.unread) == (False, (), (), ())


@pytest.mark.parametrize(
    ("latent", "size", "has_source"),
    [
        (node("VAEEncode", pixels=["i", 0], vae=["4", 2]), None, True),
        (node("VAEEncodeForInpaint", pixels=["i", 0], vae=["4", 2], mask=["i", 1]), None, True),
        (node("SetLatentNoiseMask", samples=["e", 0], mask=["i", 1]), None, True),
        (node("VAEEncode", pixels=["z", 0], vae=["4", 2]), (640, 384), True),
        (node("RepeatLatentBatch", samples=["5", 0], amount=2), (512, 256), False),
    ],
)
def test_source_pictures_are_noticed(latent, size, has_source):
    nodes = {
        "i": node("LoadImage", image="x.png"),
        "e": node("VAEEncode", pixels=["i", 0], vae=["4", 2]),
        "z": node("ImageScale", image=["i", 0], width=640, height=384),
        "x": latent,
    }
    graph = workflow(**nodes)
    graph["3"]["inputs"] |= {"latent_image": ["x", 0], "denoise": 0.5}
    read = recipe(graph)
    assert (read.settings.get("width"), read.settings.get("height")) == (size or (None, None))
    assert read.has_source == has_source


def test_the_first_of_several_passes_counts_and_the_others_are_named():
    later = {"seed": 9, "steps": 8, "cfg": 2.0, "sampler_name": "ddim", "scheduler": "normal", "model": ["4", 0]}
    prompts = {"positive": ["6", 0], "negative": ["7", 0]}
    read = recipe(
        workflow(
            **{
                "9": node("SaveImage", images=["f", 0]),
                "f": node("FaceDetailer", image=["d", 0], **later, **prompts),
                "d": node("VAEDecode", samples=["u", 0], vae=["4", 2]),
                "u": node("KSampler", latent_image=["up", 0], **later, **prompts),
                "up": node("LatentUpscale", samples=["3", 0], width=1024, height=1024),
                "0": node("KSampler", latent_image=["5", 0], **later, **prompts),  # of a picture that was not saved
            }
        )
    )
    assert (read.settings["steps"], read.settings["width"], read.settings["seed"]) == (20, 512, 156680208700286)
    assert read.left_out == ("FaceDetailer", "KSampler")


def test_loras_and_changes_to_the_model_are_named():
    graph = workflow(
        l=node("LoraLoader", lora_name="ink.safetensors", model=["p", 0], clip=["4", 1]),
        p=node("Power Lora Loader (rgthree)", model=["f", 0], lora_1={"on": True, "lora": "b.safetensors", "strength": 1}),
        f=node("FreeU_V2", model=["4", 0], b1=1.3),
    )
    graph["3"]["inputs"]["model"] = ["l", 0]
    read = recipe(graph)
    assert (read.loras, read.left_out) == (("ink.safetensors", "b.safetensors"), ("FreeU_V2",))
    assert read.model == "v1-5-pruned-emaonly.safetensors"


def doubling(levels):
    """Return a graph in which each node joins the one before with itself: 2 ** levels paths."""
    nodes = {
        f"c{level}": node("ConditioningCombine", conditioning_1=[f"c{level - 1}", 0], conditioning_2=[f"c{level - 1}", 0])
        for level in range(1, levels)
    }
    graph = workflow(c0=encode("red fox"), **nodes)
    graph["3"]["inputs"]["positive"] = [f"c{levels - 1}", 0]
    return graph


def test_graphs_with_many_paths_take_linear_time():
    assert recipe(doubling(40)).settings["prompt"] == "red fox"


@pytest.mark.parametrize("levels", [200, 5000])
def test_graphs_that_are_too_deep_are_named(levels):
    assert recipe(doubling(levels)).unread == ("ConditioningCombine",)


def test_texts_that_double_are_cut():
    parts = {
        f"s{level}": node("StringConcatenate", string_a=[f"s{level - 1}", 0], string_b=[f"s{level - 1}", 0], delimiter="")
        for level in range(1, 50)
    }
    read = prompt_through(encode(["s49", 0]), s0=node("PrimitiveString", value="red fox"), **parts)
    assert len(read.settings["prompt"]) == 20_000


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        ({"prompt": "{"}, "prompt"),
        ({"workflow": '{"nodes": []}'}, "workflow"),
        ({"prompt": '{"1": {"class_type": "SaveImage", "inputs": {}}}'}, "graph"),
    ],
)
def test_recipe_of_names_what_it_cannot_read_of_a_graph(texts, part):
    with pytest.raises(InvalidImageError, match=f"no generation settings that I can read: ComfyUI .* its {part}"):
        recipe_of(texts)


@pytest.mark.parametrize("name", ["exif:UserComment", "exif:Model", "exif:ImageDescription", "exif:Make"])
def test_recipe_of_reads_graphs_in_exif(name):
    graph = json.dumps(workflow())
    text = graph if name == "exif:UserComment" else f"Prompt: {graph}"
    assert recipe_of({name: text, "exif:Software": "workflow:{}"}).settings["steps"] == 20
