"""FLUX.1 against diffusers' own pipelines: the same noise in gives the same latents out."""

from functools import cache

import pytest
import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline
from PIL import Image

from diffusion.errors import InvalidRequestError
from diffusion.images.masks import box_mask
from diffusion.sampling.trajectory import denoise_all, step
from tests.support import parity
from tests.support.parity import difference_of, pipeline_of
from tests.support.tiny_flux import build_components, model_of

TOLERANCE = 1e-5  # of the largest latent
BATCH_TOLERANCE = 1e-4
KINDS = ("dev", "schnell")
GRADIENT = Image.linear_gradient("L").resize((32, 48)).convert("RGB")
SIZE = {"width": 32, "height": 48}


@pytest.fixture(scope="module")
def parts_of():
    """Builds the parts of each kind once."""
    return cache(build_components)


@pytest.fixture(scope="module")
def model_for(parts_of):
    """Builds the model of each kind once."""
    return cache(lambda kind: model_of(parts_of(kind)))


def drawn_by_diffusers(pipeline, kind, request, **settings):
    """Draw ``request`` with as many tokens of text as its kind of model reads."""
    if kind == "schnell":
        settings = {"guidance_scale": 3.5, "true_cfg_scale": request.guidance_scale} | settings
    else:
        settings = {"negative_prompt": None} | settings
    tokens = 256 if kind == "schnell" else 512
    latents = parity.drawn_by_diffusers(pipeline, request, max_sequence_length=tokens, **settings)
    return FluxPipeline._unpack_latents(latents, request.height, request.width, 8)


def packed(noise):
    return FluxPipeline._pack_latents(noise, *noise.shape)


@pytest.mark.parametrize(
    ("kind", "scale", "negative"),
    [("dev", 3.5, ""), ("dev", 1.0, ""), ("schnell", 1.0, ""), ("schnell", 4.0, "a dog"), ("schnell", 4.0, "")],
)
@pytest.mark.parametrize("size", [(32, 48), (96, 64)])
def test_text_to_image_equals_diffusers(parts_of, model_for, kind, scale, negative, size):
    model = model_for(kind)
    width, height = size
    noise = torch.randn(model.latent_shape(width, height), generator=torch.Generator().manual_seed(3))
    request = model.request(
        "a red fox!", negative_prompt=negative, width=width, height=height, steps=4, guidance_scale=scale, seed=5
    )
    theirs = drawn_by_diffusers(pipeline_of(FluxPipeline, parts_of(kind)), kind, request, latents=packed(noise))
    ours = denoise_all(model, [model.trajectory(request, noise=noise)])[0]
    print(f"parity {kind:8} guidance {scale} {width}x{height}: {difference_of(ours, theirs):.1e}")
    assert difference_of(ours, theirs) <= TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start_step", [0, 3])
def test_image_to_image_equals_diffusers(parts_of, model_for, kind, start_step):
    model = model_for(kind)
    request = model.request("a red fox", **SIZE, steps=6, seed=7, image=GRADIENT, start_step=start_step)
    pipeline = pipeline_of(FluxImg2ImgPipeline, parts_of(kind))
    theirs = drawn_by_diffusers(pipeline, kind, request, image=GRADIENT, strength=(6 - start_step) / 6)
    assert difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs) <= TOLERANCE


def test_inpainting_equals_diffusers(parts_of, model_for):
    model = model_for("dev")
    mask = box_mask((32, 48), (0, 0, 16, 32))
    request = model.request("a red fox", **SIZE, steps=10, seed=7, image=GRADIENT, mask=mask, start_step=3)
    pipeline = pipeline_of(FluxInpaintPipeline, parts_of("dev"))
    theirs = drawn_by_diffusers(pipeline, "dev", request, image=GRADIENT, mask_image=mask, strength=0.7)
    assert difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs) <= TOLERANCE


def mixed_requests(model):
    yield model.request("a fox", **SIZE, steps=4, seed=1)
    yield model.request("two dogs", **SIZE, steps=6, sampler="flow_heun", guidance_scale=7.0, seed=2)
    yield model.request("a tree", **SIZE, steps=7, guidance_scale=1.0, branches=((3, "a house"),), seed=4)
    yield model.request("red", **SIZE, steps=5, morph_to="blue", count=3, seed=5)
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, start_step=2, seed=6)
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, mask=box_mask((32, 48), (0, 0, 16, 16)), seed=7)


@pytest.mark.parametrize("kind", KINDS)
def test_shared_steps_draw_what_each_draws_alone(model_for, kind):
    model = model_for(kind)
    started = [model.trajectory(request, request.count - 1) for request in mixed_requests(model)]
    alone = [denoise_all(model, [trajectory])[0] for trajectory in started]
    together = [model.trajectory(request, request.count - 1) for request in mixed_requests(model)]
    while running := [trajectory for trajectory in together if not trajectory.done]:
        step(model, running)
    worst = max(difference_of(trajectory.latents, latents) for trajectory, latents in zip(together, alone, strict=True))
    print(f"{kind}: shared against alone: {worst:.1e}")
    assert worst <= BATCH_TOLERANCE


@pytest.mark.parametrize("sampler", ["flow_euler", "flow_heun"])
def test_last_preview_shows_the_clean_latents(model_for, sampler):
    model = model_for("dev")
    trajectory = model.trajectory(model.request("a fox", **SIZE, steps=5, sampler=sampler, seed=1))
    while not trajectory.done:
        step(model, [trajectory])
    (sample, timestep), prediction = trajectory.last_input, trajectory.prediction
    x_0 = model.family.predict_x_0(sample, prediction, timestep.float()[None])
    assert difference_of(x_0, trajectory.latents) <= 1e-5
    assert model.preview_latents([trajectory])[0].shape == (6, 4, 3)


def test_to_pixels_undoes_the_scale_and_shift_of_to_latents(model_for):
    family = model_for("dev").family
    pixels = torch.rand(1, 3, 48, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        raw = family.vae.encode(pixels).latent_dist.mode()
        torch.testing.assert_close(family.to_latents(pixels, None), (raw - 0.1159) * 0.3611)
        torch.testing.assert_close(
            family.to_pixels(family.to_latents(pixels, None)), family.vae.decode(raw, return_dict=False)[0]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_every_quality_suits_the_model(model_for, kind):
    model = model_for(kind)
    for quality in ("draft", "standard", "fine", "classic"):
        model.validate(model.request("a fox", **model.defaults.of(quality)))
    standard = model.request("a fox")
    assert (standard.steps, standard.guidance_scale) == {"dev": (28, 3.5), "schnell": (4, 1.0)}[kind]
    assert model.rows(standard) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sampler": "dpm++"}, "There is no sampler DPM.* Choose one of Flow Euler, Flow Heun"),
        ({"width": 40}, "The width must be a multiple of 16: try 32 or 48"),
        ({"negative_prompt": "a dog"}, "This model reads no negative prompt. Leave it out"),
        ({"prompt": "a " * 512}, "and this model reads 511"),
    ],
)
def test_dev_refuses_what_it_would_ignore(model_for, settings, words):
    model = model_for("dev")
    with pytest.raises(InvalidRequestError, match=words):
        model.validate(model.request(**{"prompt": "a fox"} | settings))


def test_long_prompts_are_read_as_diffusers_reads_them(parts_of, model_for):
    model = model_for("dev")
    pipeline = pipeline_of(FluxPipeline, parts_of("dev"))
    text = "(a red fox:1.4) in the snow, " * 12
    with torch.inference_mode():
        hidden, pooled, _ = pipeline.encode_prompt(text, None)
    ours = model.family.encode(text, model.request("a fox")).tensors
    torch.testing.assert_close(ours["prompt_embeds"], hidden)
    torch.testing.assert_close(ours["pooled_embeds"], pooled)
