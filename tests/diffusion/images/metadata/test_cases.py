"""Files of other tools in tests/cases: each is read in full."""

from pathlib import Path

import pytest

from diffusion.images.metadata.registry import read_recipe

CASES = Path(__file__).parents[3] / "cases"

FOX = {"prompt": "a red fox", "negative_prompt": "blurry", "steps": 20, "guidance_scale": 7.0, "seed": 5}
SQUARE = {"width": 512, "height": 512}
A1111 = {
    "prompt": "a red fox in snow",
    "negative_prompt": "blurry, text",
    "steps": 20,
    "sampler": "dpm++",
    "guidance_scale": 6.5,
    "seed": 1234,
    "width": 512,
    "height": 768,
    "clip_skip": 2,
}
KARRAS = ("somemix_v3", "DPM++ 2M Karras")
ANCESTRAL = {"sampler": "euler_a"}
SNOW = {"prompt": "a red fox in snow"}
COMFY = ("somemix_v3.safetensors", "euler")
READ = {
    "a1111_ascii.webp": (A1111, *KARRAS),
    "a1111_le.webp": (A1111, *KARRAS),
    "a1111_be.jpg": (A1111, *KARRAS),
    "a1111_com.jpg": (A1111, *KARRAS),
    "dynprompts_template.png": (A1111, *KARRAS),
    "a1111_img2img.png": (FOX | SQUARE | ANCESTRAL, "somemix_v3", "Euler a"),
    "controlnet_legacy.png": (FOX | SQUARE | ANCESTRAL, "somemix_v3", "Euler a"),
    "civitai_resources.png": (
        FOX
        | SQUARE
        | {
            "prompt": "a red fox, (snow:1.2)",
            "loras": (("style", 0.7),),
            "negative_prompt": "blurry,\nbad",
            "sampler": "dpm++",
            "clip_skip": 2,
        },
        "Some Mix v3",
        "DPM++ 2M Karras",
    ),
    "swarm.png": (FOX | SQUARE, "somemix_v3", "euler"),
    "invoke.png": (FOX | SQUARE, "somemix_v3", "euler"),
    "novelai.png": (
        FOX | {"prompt": "a red fox, snow", "steps": 28, "guidance_scale": 11.0, "width": 24, "height": 16},
        "Stable Diffusion 1D44365E",
        "k_euler",
    ),
    "fooocus.png": (
        FOX | {"steps": 30, "guidance_scale": 4.0, "width": 896, "height": 1152},
        "somemix_v3",
        "dpmpp_2m_sde_gpu karras",
    ),
    "comfy_stringconcat.png": (FOX | SQUARE | {"prompt": "a red fox, in snow"}, *COMFY),
    "comfy_combine.png": (FOX | SQUARE | {"prompt": "a red fox in snow, oil painting"}, *COMFY),
    "comfy_samplercustom.png": (FOX | SQUARE | SNOW, *COMFY),
    "comfy_efficient.png": (FOX | SQUARE | SNOW, *COMFY),
    "comfy_exif.webp": (FOX | SQUARE | SNOW, *COMFY),
    "comfy_img2img.png": (FOX | SNOW | {"width": 24, "height": 16}, *COMFY),
}
PARTS = {
    "a1111_img2img.png": (True, (), ()),
    "comfy_img2img.png": (True, (), ()),
    "controlnet_legacy.png": (False, (), ("ControlNet",)),
    "civitai_resources.png": (False, ("Style: Ghibli, Seed: 9",), ()),
}


@pytest.mark.parametrize("name", READ)
def test_read_recipe_reads_files_of_other_tools(name):
    recipe = read_recipe((CASES / name).read_bytes())
    assert (recipe.settings, recipe.model, recipe.sampler) == READ[name]
    assert (recipe.has_source, recipe.loras, recipe.left_out) == PARTS.get(name, (False, (), ()))
    assert recipe.unread == ()
