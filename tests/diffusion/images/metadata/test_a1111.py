"""A1111's parameters text, as it and other tools write it."""

import io

import pytest
from PIL import ExifTags, Image

from diffusion.errors import InvalidImageError
from diffusion.images.metadata.a1111 import parse_recipe
from diffusion.images.metadata.registry import read_recipe, recipe_of

LINE = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768, Model hash: 00aa, Model: mix"
UNIT = '"Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1, Guidance Start: 0"'


@pytest.mark.parametrize(
    ("head", "prompt", "negative"),
    [
        ("a fox\n", "a fox", ""),
        ("a fox\nNegative prompt:\n", "a fox", ""),
        ("a fox\nNegative prompt: \n", "a fox", ""),
        ("Negative prompt: blur\n", "", "blur"),
        ("", "", ""),
        ("a fox\nin snow\nNegative prompt: blur,\ntext\n", "a fox\nin snow", "blur,\ntext"),
        ("a fox\r\nNegative prompt: blur\r\n", "a fox", "blur"),
        ("a fox, Negative prompt: none\n", "a fox, Negative prompt: none", ""),
        ("Steps: two, a fox\n", "Steps: two, a fox", ""),
    ],
)
@pytest.mark.parametrize(
    "below",
    ["", "\nTemplate: a {red|blue} fox\nNegative Template: blur", "\nTemplate: a\nSteps: 3, Seed: 1", "\n\nWildcards: x\n"],
    ids=["nothing", "template", "settings in a template", "other lines"],
)
def test_parse_recipe_splits_prompts_from_settings(head, prompt, negative, below):
    settings = parse_recipe(f"{head}{LINE}{below}").settings
    assert (settings["prompt"], settings["negative_prompt"]) == (prompt, negative)
    assert (settings["steps"], settings["seed"], settings["width"], settings["height"]) == (20, 5, 512, 768)


@pytest.mark.parametrize(
    ("more", "left_out"),
    [
        ("", ()),
        (f"ControlNet 0: {UNIT}, ControlNet 1: {UNIT}", ("ControlNet",)),
        ("Postprocess upscale by: 4, Postprocess upscaler: R-ESRGAN 4x+", ("Upscaler",)),
        ("ControlNet-0 Enabled: True, ControlNet-0 Model: canny [00], ControlNet-1 Model: depth [00]", ("ControlNet",)),
        ("ControlNet 0: Module: canny, Model: control_canny [00], Weight: 1", ("ControlNet",)),
        ('ADetailer model: face_yolov8n.pt, ADetailer prompt: "Model: x, Seed: 9"', ("ADetailer",)),
        ("Refiner: sd_xl_refiner, Refiner switch at: 0.8", ("Refiner",)),
        ("Denoising strength: 0.4, Hires upscale: 1.5, Hires upscaler: Latent", ("Hires. fix",)),
        ('Script: X/Y/Z plot, X Values: "Model: x, Seed: 9", Broken: [1, 2, Other: {', ()),
    ],
)
def test_parse_recipe_names_what_extensions_add(more, left_out):
    recipe = parse_recipe(f"a fox\n{LINE}, {more}")
    assert (recipe.model, recipe.settings["seed"], recipe.left_out) == ("mix", 5, left_out)
    assert not recipe.has_source


@pytest.mark.parametrize(
    ("more", "has_source"),
    [
        ("Denoising strength: 0.55", True),
        ("Denoising strength: 1, Mask blur: 4, Inpaint area: Only masked, Masked area padding: 32", True),
        ("Denoising strength: 0.4, Hires upscale: 2, Hires upscaler: Lanczos", False),
        ("Denoising strength: 0.4, Hires resize: 1024x1024, Hires upscaler: Lanczos", False),
        ("Denoising strength: 0.7, First pass size: 512x512", False),
        ("Edited picture: the source", True),
        ("Clip skip: 2", False),
    ],
)
def test_parse_recipe_knows_img2img_from_a_second_pass(more, has_source):
    assert parse_recipe(f"a fox\n{LINE}, {more}").has_source == has_source


@pytest.mark.parametrize(
    ("resources", "model", "loras"),
    [
        ('[{"type":"checkpoint","modelName":"Mix, two","modelVersionName":"v1"}]', "Mix, two v1", ()),
        ('[{"type":"lora","weight":1,"modelName":"Ink"},{"type":"checkpoint","modelName":"Mix"}]', "Mix", ("Ink",)),
        (
            '[{"air":"urn:air:sd1:checkpoint:civitai:4384@128713"},{"weight":1,"air":"urn:air:sd1:lora:civitai:1@2"}]',
            "urn:air:sd1:checkpoint:civitai:4384@128713",
            ("urn:air:sd1:lora:civitai:1@2",),
        ),
        ('[{"type":7},8,{"modelName":[]}]', "", ()),
        ("[{", "", ()),
    ],
)
def test_parse_recipe_reads_the_resources_of_civitai(resources, model, loras):
    recipe = parse_recipe(f"a fox\nSteps: 9, Civitai resources: {resources}, Seed: 3")
    assert (recipe.model, recipe.loras, recipe.settings.get("seed")) == (model, loras, 3)


@pytest.mark.parametrize(
    ("quoted", "name"), [('"a, b: c"', "a, b: c"), ('"a \\"b\\""', 'a "b"'), ('"a', '"a'), ('"a" b', '"a" b')]
)
def test_parse_recipe_reads_quoted_values(quoted, name):
    recipe = parse_recipe(f"a fox\nSteps: 9, Model: {quoted}, Seed: 3")
    assert (recipe.model, recipe.settings["seed"]) == (name, 3)


TEXT = f"ein Füchslein 狐 🦊\nNegative prompt: 文字\n{LINE}"


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + TEXT.encode("utf-16-be"),
        b"UNICODE\0" + TEXT.encode("utf-16-le"),
        b"UNICODE\0" + TEXT.encode("utf-16"),
        b"UNICODE\0" + TEXT.encode(),
        b"ASCII\0\0\0" + TEXT.encode(),
        b"\0" * 8 + TEXT.encode() + b"\0",
        TEXT.encode(),
    ],
    ids=["big-endian", "little-endian", "byte order mark", "UTF-8 as UTF-16", "ASCII", "undefined", "no mark"],
)
@pytest.mark.parametrize("order", [b"MM\0*", b"II*\0"], ids=["MM", "II"])
@pytest.mark.parametrize("kind", ["WEBP", "JPEG", "PNG"])
def test_read_recipe_reads_comments_of_exif_in_any_encoding(comment, order, kind):
    exif = Image.Exif()
    exif.endian = ">" if order.startswith(b"MM") else "<"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind, exif=exif.tobytes())
    assert order in file.getvalue()
    settings = read_recipe(file.getvalue()).settings
    assert (settings["prompt"], settings["negative_prompt"], settings["seed"]) == ("ein Füchslein 狐 🦊", "文字", 5)


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_read_recipe_reads_comments_of_jpeg_and_gif(kind):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind, comment=TEXT.encode())
    assert read_recipe(file.getvalue()).settings["prompt"] == "ein Füchslein 狐 🦊"


@pytest.mark.parametrize(
    "line",
    [
        "Steps: 1, " + "A: " * 30_000,
        "Steps: 1, " + 'A: "x ' * 15_000,
        "Steps: 1, " + 'A: "\\", ' * 12_000,
        "Steps: 1, " + "A: [1, " * 14_000,
        "Steps: 1, A: " + "[" * 90_000,
        "Steps: 1, " + "A" * 99_000,
        "Steps: 1, " + ":" * 99_000,
        "Steps: 1, " + "A: {" * 20_000,
    ],
    ids=range(8),
)
def test_parse_recipe_takes_linear_time(line):
    assert parse_recipe(line).settings["steps"] == 1


def test_parse_recipe_refuses_settings_of_any_length():
    with pytest.raises(InvalidImageError):
        parse_recipe("Steps: 1, " + "A: 1, " * 100_000)


def test_recipe_of_a_graph_is_not_hidden_by_unreadable_parameters():
    graph = '{"1": {"class_type": "KSampler", "inputs": {"seed": 3, "steps": 4, "cfg": 2, "sampler_name": "euler"}}}'
    for parameters in ("a fox", "{", "", "[]", '{"a": 1}', "Steps: many"):
        assert recipe_of({"parameters": parameters, "prompt": graph}).settings["seed"] == 3
