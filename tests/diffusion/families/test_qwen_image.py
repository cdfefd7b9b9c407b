"""Qwen-Image against diffusers' own pipelines: the same noise in gives the same latents out."""

import json
import shutil

import pytest
import torch
from diffusers import QwenImageImg2ImgPipeline, QwenImageInpaintPipeline, QwenImagePipeline
from PIL import Image

from diffusion.errors import InvalidRequestError, ModelLoadError
from diffusion.families.qwen_image import LIGHTNING, QwenImage
from diffusion.images.masks import box_mask
from diffusion.loading.index import family_of
from diffusion.loading.model import load_model
from diffusion.sampling.trajectory import denoise_all, step
from tests.support.parity import difference_of, pipeline_of
from tests.support.tiny_qwen_image import build_components, model_of, save

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
    return save(components, tmp_path_factory.mktemp("qwen") / "Qwen-Image")


def drawn_by(kind, parts, model, request, **settings):
    """Return the latents of ``request`` by diffusers' pipeline ``kind``."""
    scheduler = model.family.schedule(request.sampler, request.steps, model.latent_shape(request.width, request.height))
    scheduler.set_timesteps = lambda sigmas=None, **_: None  # they are set; Heun's takes no sigmas
    pipeline = pipeline_of(kind, parts if request.sampler == "flow_euler" else parts | {"scheduler": scheduler})
    packed = pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        num_inference_steps=request.steps,
        true_cfg_scale=request.guidance_scale,
        generator=torch.Generator().manual_seed(request.seed),
        output_type="latent",
        **settings,
    ).images
    return pipeline._unpack_latents(packed, request.height, request.width, 8)[:, :, 0]


@pytest.mark.parametrize("sampler", ["flow_euler", "flow_heun"])
@pytest.mark.parametrize(("scale", "negative"), [(1.0, ""), (4.0, ""), (4.0, "a dog, and other things")])
def test_text_to_image_equals_diffusers(components, model, scale, negative, sampler):
    settings = {"negative_prompt": negative, "steps": 5, "guidance_scale": scale, "sampler": sampler, "seed": 5}
    request = model.request("a red fox and " * 60, width=48, height=64, **settings)
    theirs = drawn_by(QwenImagePipeline, components, model, request)
    difference = difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs)
    print(f"parity guidance {scale} {sampler}: {difference:.1e}")
    assert difference <= TOLERANCE


@pytest.mark.parametrize("start_step", [0, 3])
def test_image_to_image_equals_diffusers(components, model, start_step):
    request = model.request("a red fox", **SIZE, steps=6, seed=7, image=GRADIENT, start_step=start_step)
    settings = {"image": GRADIENT, "strength": (6 - start_step) / 6}
    theirs = drawn_by(QwenImageImg2ImgPipeline, components, model, request, **settings)
    assert difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs) <= TOLERANCE


def test_inpainting_equals_diffusers(components, model):
    mask = box_mask((32, 48), (0, 0, 16, 32))
    request = model.request("a red fox", **SIZE, steps=10, seed=7, image=GRADIENT, mask=mask, start_step=3)
    settings = {"image": GRADIENT, "mask_image": mask, "strength": 0.7}
    theirs = drawn_by(QwenImageInpaintPipeline, components, model, request, **settings)
    assert difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs) <= TOLERANCE


def mixed_requests(model):
    """Yield requests whose texts are padded to other lengths."""
    yield model.request("a fox", **SIZE, steps=4, seed=1)
    yield model.request("two dogs and " * 12, **SIZE, steps=6, sampler="flow_heun", guidance_scale=1.0, seed=2)
    yield model.request("a tree", **SIZE, steps=7, branches=((3, "a house, then a much longer text than that " * 3),), seed=4)
    yield model.request("red", **SIZE, steps=5, morph_to="blue, and some more words than before it " * 3, count=3, seed=5)
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, start_step=2, negative_prompt="a dog " * 12, seed=6)
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, mask=box_mask((32, 48), (0, 0, 16, 16)), seed=7)


def test_shared_steps_draw_what_each_draws_alone(model):
    alone = [denoise_all(model, [model.trajectory(each, each.count - 1)])[0] for each in mixed_requests(model)]
    together = [model.trajectory(each, each.count - 1) for each in mixed_requests(model)]
    assert len({trajectory.conditions.tensors["prompt_embeds"].shape[1] for trajectory in together}) > 1
    while running := [trajectory for trajectory in together if not trajectory.done]:
        step(model, running)
    worst = max(difference_of(trajectory.latents, latents) for trajectory, latents in zip(together, alone, strict=True))
    print(f"shared against alone: {worst:.1e}")
    assert worst <= BATCH_TOLERANCE


def test_guide_keeps_the_norm_of_each_patch(model):
    unconditional, conditional = torch.randn(2, 1, 4, 6, 4, generator=torch.Generator().manual_seed(1))
    guided = model.guide(torch.cat([unconditional, conditional]), 5.0)
    for row, column in ((0, 0), (2, 1)):
        patch = slice(None), slice(None), slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)
        assert guided[patch].norm() == pytest.approx(conditional[patch].norm())


def test_last_preview_shows_the_clean_latents(model):
    trajectory = model.trajectory(model.request("a fox", **SIZE, steps=3, seed=1))
    while not trajectory.done:
        step(model, [trajectory])
    (sample, timestep), prediction = trajectory.last_input, trajectory.prediction
    sigma = model.family.noise_levels(timestep.float())
    x_0 = model.family.predict_x_0(sample, prediction, timestep.float()[None])
    assert 0 < sigma < 0.2
    assert difference_of(x_0, trajectory.latents) <= 1e-5
    assert model.preview_latents([trajectory])[0].shape == (6, 4, 3)


def test_to_pixels_undoes_the_statistics_of_to_latents(model):
    family = model.family
    pixels = torch.rand(1, 3, 48, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        raw = family.vae.encode(pixels[:, :, None]).latent_dist.mode()
        drawn = family.to_pixels(family.to_latents(pixels, None))
        torch.testing.assert_close(drawn, family.vae.decode(raw, return_dict=False)[0][:, :, 0])


def test_load_model_draws_a_folder_as_its_parts_do(folder, model):
    loaded = load_model(folder, "cpu", torch.float32)
    ours, theirs = (each.generate(["a fox"], **SIZE, steps=2, seeds=[4])[0] for each in (loaded, model))
    assert ours.tobytes() == theirs.tobytes()
    for quality in ("draft", "standard", "fine", "classic"):
        loaded.validate(loaded.request("a fox", **loaded.defaults.of(quality)))
    loaded.validate(loaded.request("a" * loaded.max_tokens))
    with pytest.raises(InvalidRequestError, match="shorten it"):
        loaded.validate(loaded.request("a" * (loaded.max_tokens + 1)))
    assert QwenImage.suggest_defaults(["Qwen-Image-Lightning-8steps"], {}) == LIGHTNING


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("transformer/config.json", {"in_channels": 32}, "its transformer reads 32 numbers a token"),
        ("transformer/config.json", {"zero_cond_t": True}, "its transformer edits pictures"),
        ("transformer/config.json", {"joint_attention_dim": 8}, "its transformer reads 8 numbers of text"),
        ("scheduler/scheduler_config.json", {"_class_name": "UniPCMultistepScheduler"}, "its scheduler is UniPCMultistepSch"),
        ("model_index.json", {"_class_name": "QwenImageEditPipeline"}, "it is a model for QwenImageEditPipeline of diffusers"),
        ("model_index.json", {"_class_name": "QwenImageLayeredPipeline"}, "it is a model for QwenImageLayeredPipeline"),
    ],
)
def test_family_of_refuses_what_is_drawn_otherwise(folder, tmp_path, file, values, words):
    configs = shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    path = configs / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(ModelLoadError, match=words):
        family_of(str(configs))
