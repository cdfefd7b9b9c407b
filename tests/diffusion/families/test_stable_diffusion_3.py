"""Stable Diffusion 3 against diffusers' own pipelines: the same noise in gives the same latents out."""

import json
import shutil

import pytest
import torch
from diffusers import StableDiffusion3Img2ImgPipeline, StableDiffusion3Pipeline
from PIL import Image

from diffusion.errors import ModelLoadError
from diffusion.images.masks import box_mask
from diffusion.loading.index import family_of
from diffusion.loading.model import load_model
from diffusion.sampling.trajectory import denoise_all, step
from tests.support.parity import difference_of, drawn_by_diffusers, pipeline_of
from tests.support.tiny_sd3 import build_components, model_of, save

TOLERANCE = 1e-5  # of the largest latent
BATCH_TOLERANCE = 1e-4
SIZE = {"width": 32, "height": 48}
GRADIENT = Image.linear_gradient("L").resize((32, 48)).convert("RGB")


@pytest.fixture(scope="module")
def components():
    return build_components()


@pytest.fixture(scope="module")
def model(components):
    return model_of(components)


@pytest.fixture(scope="module")
def folder(components, tmp_path_factory):
    return save(components, tmp_path_factory.mktemp("sd3") / "sd3.5-large-turbo")


@pytest.mark.parametrize(("scale", "negative"), [(1.0, ""), (4.5, ""), (4.5, "a dog")])
@pytest.mark.parametrize("dynamic", [False, True])
def test_text_to_image_equals_diffusers(components, scale, negative, dynamic):
    parts = components | {"scheduler": build_components(use_dynamic_shifting=dynamic)["scheduler"]}
    model = model_of(parts)
    noise = torch.randn(model.latent_shape(48, 64), generator=torch.Generator().manual_seed(3))
    request = model.request(
        "a red fox, " * 30, negative_prompt=negative, width=48, height=64, steps=5, guidance_scale=scale, seed=5
    )
    theirs = drawn_by_diffusers(pipeline_of(StableDiffusion3Pipeline, parts), request, latents=noise.clone())
    ours = denoise_all(model, [model.trajectory(request, noise=noise)])[0]
    print(f"parity guidance {scale}: {difference_of(ours, theirs):.1e}")
    assert difference_of(ours, theirs) <= TOLERANCE


@pytest.mark.parametrize("start_step", [0, 3])
def test_image_to_image_equals_diffusers(components, model, start_step):
    request = model.request("a red fox", **SIZE, steps=6, seed=7, image=GRADIENT, start_step=start_step)
    pipeline = pipeline_of(StableDiffusion3Img2ImgPipeline, components)
    theirs = drawn_by_diffusers(pipeline, request, image=GRADIENT, strength=(6 - start_step) / 6)
    assert difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs) <= TOLERANCE


def mixed_requests(model):
    yield model.request("a fox", **SIZE, steps=4, seed=1)
    yield model.request("two dogs", **SIZE, steps=6, sampler="flow_heun", guidance_scale=1.0, seed=2)
    yield model.request("a tree", **SIZE, steps=7, branches=((3, "a house"),), seed=4)
    yield model.request("red", **SIZE, steps=5, morph_to="blue", count=3, seed=5)
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, mask=box_mask((32, 48), (0, 0, 16, 16)), seed=7)


def test_shared_steps_draw_what_each_draws_alone(model):
    started = [model.trajectory(request, request.count - 1) for request in mixed_requests(model)]
    alone = [denoise_all(model, [trajectory])[0] for trajectory in started]
    together = [model.trajectory(request, request.count - 1) for request in mixed_requests(model)]
    while running := [trajectory for trajectory in together if not trajectory.done]:
        step(model, running)
    worst = max(difference_of(trajectory.latents, latents) for trajectory, latents in zip(together, alone, strict=True))
    print(f"shared against alone: {worst:.1e}")
    assert worst <= BATCH_TOLERANCE


def test_load_model_draws_a_folder_as_its_parts_do(folder, model):
    loaded = load_model(folder, "cpu", torch.float32)
    settings = SIZE | {"steps": 2, "seeds": [4], "guidance_scale": 3.0}
    ours, theirs = (each.generate(["a fox"], **settings)[0] for each in (loaded, model))
    assert ours.tobytes() == theirs.tobytes()
    assert (loaded.defaults.steps, loaded.defaults.guidance_scale) == (4, 1.0)
    for quality in ("draft", "standard", "fine", "classic"):
        loaded.validate(loaded.request("a fox", **loaded.defaults.of(quality)))


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("transformer/config.json", {"in_channels": 8}, "its transformer reads 8 numbers a token and makes 4"),
        ("transformer/config.json", {"pooled_projection_dim": 16}, r"its transformer reads 16 numbers of text \(pooled_proj"),
        ("transformer/config.json", {"patch_size": 4}, "its transformer has patches of 4 cells"),
        ("model_index.json", {"text_encoder_3": [None, None]}, "its text_encoder_3 is missing"),
        ("model_index.json", {"controlnet": ["diffusers", "SD3ControlNetModel"]}, "it has the part controlnet"),
    ],
)
def test_family_of_refuses_what_is_drawn_otherwise(folder, tmp_path, file, values, words):
    configs = shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    path = configs / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(ModelLoadError, match=words):
        family_of(str(configs))
