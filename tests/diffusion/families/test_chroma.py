"""Chroma against diffusers' own pipelines: the same noise in gives the same latents out."""

import json
import shutil

import pytest
import torch
from diffusers import ChromaImg2ImgPipeline, ChromaInpaintPipeline, ChromaPipeline
from PIL import Image

from diffusion.errors import ModelLoadError
from diffusion.families.flow_transformer import unpack
from diffusion.images.masks import box_mask
from diffusion.loading.index import family_of
from diffusion.loading.model import load_model
from diffusion.sampling.trajectory import denoise_all, step
from tests.support.parity import difference_of, drawn_by_diffusers, pipeline_of
from tests.support.tiny_chroma import build_components, model_of, save

TOLERANCE = 1e-5  # of the largest latent
BATCH_TOLERANCE = 1e-4
SIZE = {"width": 32, "height": 48}
GRADIENT = Image.linear_gradient("L").resize((32, 48)).convert("RGB")


@pytest.fixture(scope="module")
def components():
    return build_components(use_dynamic_shifting=True)


@pytest.fixture(scope="module")
def model(components):
    return model_of(components)


@pytest.fixture(scope="module")
def folder(components, tmp_path_factory):
    return save(components, tmp_path_factory.mktemp("chroma") / "Chroma1-Flash")


def drawn_by(kind, parts, model, request, **settings):
    """Return the latents of ``request`` by diffusers' pipeline ``kind``."""
    shape = model.latent_shape(request.width, request.height)
    scheduler = model.family.schedule(request.sampler, request.steps, shape)
    scheduler.set_timesteps = lambda sigmas=None, **_: None  # they are set; Heun's takes no sigmas
    pipeline = pipeline_of(kind, parts if request.sampler == "flow_euler" else parts | {"scheduler": scheduler})
    return unpack(drawn_by_diffusers(pipeline, request, **settings), torch.Size(shape))


@pytest.mark.parametrize("sampler", ["flow_euler", "flow_heun"])
@pytest.mark.parametrize(("scale", "negative"), [(1.0, ""), (4.0, ""), (4.0, "a dog")])
def test_text_to_image_equals_diffusers(components, model, scale, negative, sampler):
    settings = {"negative_prompt": negative, "steps": 5, "guidance_scale": scale, "sampler": sampler, "seed": 5}
    request = model.request("a red fox", width=48, height=64, **settings)
    difference = difference_of(
        denoise_all(model, [model.trajectory(request)])[0], drawn_by(ChromaPipeline, components, model, request)
    )
    print(f"parity guidance {scale} {sampler}: {difference:.1e}")
    assert difference <= TOLERANCE


@pytest.mark.parametrize("prompt", ["a red fox, " * 200, "a"], ids=["cut", "short"])
def test_beta_schedule_and_texts_of_any_length_equal_diffusers(prompt):
    parts = build_components(use_beta_sigmas=True)
    model = model_of(parts)
    request = model.request(prompt, **SIZE, steps=5, seed=5)
    ours = denoise_all(model, [model.trajectory(request)])[0]
    assert difference_of(ours, drawn_by(ChromaPipeline, parts, model, request)) <= TOLERANCE


@pytest.mark.parametrize("start_step", [0, 3])
def test_image_to_image_equals_diffusers(components, model, start_step):
    request = model.request("a red fox", **SIZE, steps=6, seed=7, image=GRADIENT, start_step=start_step)
    settings = {"image": GRADIENT, "strength": (6 - start_step) / 6}
    theirs = drawn_by(ChromaImg2ImgPipeline, components, model, request, **settings)
    assert difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs) <= TOLERANCE


def test_inpainting_equals_diffusers(components, model):
    components["transformer"].register_to_config(guidance_embeds=False)  # which this pipeline reads without need
    mask = box_mask((32, 48), (0, 0, 16, 32))
    request = model.request("a red fox", **SIZE, steps=10, seed=7, image=GRADIENT, mask=mask, start_step=3)
    settings = {"image": GRADIENT, "mask_image": mask, "strength": 0.7, "max_sequence_length": 512}
    theirs = drawn_by(ChromaInpaintPipeline, components, model, request, **settings)
    assert difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs) <= TOLERANCE


def mixed_requests(model):
    yield model.request("a fox", **SIZE, steps=4, seed=1)
    yield model.request("two dogs and " * 12, **SIZE, steps=6, sampler="flow_heun", guidance_scale=1.0, seed=2)
    yield model.request("a tree", **SIZE, steps=7, branches=((3, "a house, then a longer text"),), seed=4)
    yield model.request("red", **SIZE, steps=5, morph_to="blue, and some more words than before it", count=3, seed=5)
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, start_step=2, negative_prompt="a dog", seed=6)
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, mask=box_mask((32, 48), (0, 0, 16, 16)), seed=7)


def test_shared_steps_draw_what_each_draws_alone(model):
    alone = [denoise_all(model, [model.trajectory(each, each.count - 1)])[0] for each in mixed_requests(model)]
    together = [model.trajectory(each, each.count - 1) for each in mixed_requests(model)]
    while running := [trajectory for trajectory in together if not trajectory.done]:
        step(model, running)
    worst = max(difference_of(trajectory.latents, latents) for trajectory, latents in zip(together, alone, strict=True))
    print(f"shared against alone: {worst:.1e}")
    assert worst <= BATCH_TOLERANCE


def test_load_model_draws_a_folder_as_its_parts_do(folder, model):
    loaded = load_model(folder, "cpu", torch.float32)
    settings = SIZE | {"steps": 2, "seeds": [4], "guidance_scale": 3.0, "sampler": "flow_euler"}
    ours, theirs = (each.generate(["a fox"], **settings)[0] for each in (loaded, model))
    assert ours.tobytes() == theirs.tobytes()
    assert (loaded.defaults.steps, loaded.defaults.guidance_scale, model.defaults.guidance_scale) == (8, 1.0, 3.0)
    for each in (loaded, model):
        for quality in ("draft", "standard", "fine", "classic"):
            each.validate(each.request("a fox", **each.defaults.of(quality)))


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("transformer/config.json", {"in_channels": 32}, "its transformer reads 32 numbers a token"),
        ("transformer/config.json", {"joint_attention_dim": 8}, "its transformer reads 8 numbers of text"),
        ("transformer/config.json", {"patch_size": 2}, "its transformer has patches of 2 tokens"),
        ("model_index.json", {"_class_name": "ChromaRadiancePipeline"}, "it is a model for ChromaRadiancePipeline"),
    ],
)
def test_family_of_refuses_what_is_drawn_otherwise(folder, tmp_path, file, values, words):
    configs = shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    path = configs / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(ModelLoadError, match=words):
        family_of(str(configs))
