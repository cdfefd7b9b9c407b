"""Stable Diffusion XL against diffusers' own pipelines: the same noise in gives the same latents out."""

from functools import cache

import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline, StableDiffusionXLPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from PIL import Image

from diffusion.errors import InvalidRequestError
from diffusion.families.stable_diffusion_xl import EDM_SAMPLERS
from diffusion.images.masks import box_mask
from diffusion.request import ImageRequest
from diffusion.sampling.samplers import SAMPLERS
from diffusion.sampling.trajectory import denoise_all, step
from diffusion.serving.engine import Engine
from tests.support import parity
from tests.support.parity import difference_of
from tests.support.tiny_xl import EDM_AUTOENCODER, build_components, model_of, pipeline_of

TOLERANCE = 1e-5  # of the largest latent
ZERO_SNR_TOLERANCE = 1e-4  # the first noise level is 4096, and diffusers' own Euler step loses digits as it takes it off
BATCH_TOLERANCE = 1e-4
TCD_ETA = 0.3  # the default of its scheduler, which the pipeline overrides
CASES = [
    *(("base", sampler, 5.0) for sampler in SAMPLERS),
    *(("base", sampler, 1.0) for sampler in ("ddim", "euler", "euler_a", "heun", "dpm++", "lcm")),
    *(("v_prediction", sampler, 5.0) for sampler in ("ddim", "euler", "dpm++", "unipc")),
    *(("edm", sampler, scale) for sampler in EDM_SAMPLERS for scale in (1.0, 3.0)),
    ("turbo", "euler_a", 1.0),
    ("turbo", "euler", 1.0),
]
ANY_POSTERIOR = DiagonalGaussianDistribution(torch.zeros(1, 8, 1, 1))
GRADIENT = Image.linear_gradient("L").resize((32, 32)).convert("RGB")


@pytest.fixture(scope="module")
def parts_of():
    """Builds the parts of each kind once."""
    return cache(build_components)


@pytest.fixture(scope="module")
def model_for(parts_of):
    """Builds the model of each kind once."""
    return cache(lambda kind: model_of(parts_of(kind)))


@pytest.fixture(scope="module")
def tiny_xl(model_for):
    return model_for("base")


def drawn_by_diffusers(pipeline, request, **settings):
    settings = {"eta": TCD_ETA if request.sampler == "tcd" else 0.0} | settings
    return parity.drawn_by_diffusers(pipeline, request, negative_prompt=request.negative_prompt or None, **settings)


@pytest.mark.parametrize(("kind", "sampler", "scale"), CASES)
def test_text_to_image_equals_diffusers(parts_of, model_for, kind, sampler, scale):
    noise = torch.randn(1, 4, 6, 4, generator=torch.Generator().manual_seed(3))
    steps = 3 if scale == 1.0 else 4
    request = ImageRequest("a red fox!", "", 32, 48, steps, scale, sampler, seed=5)
    model = model_for(kind)
    theirs = drawn_by_diffusers(pipeline_of(StableDiffusionXLPipeline, parts_of(kind), model, sampler), request, latents=noise)
    ours = denoise_all(model, [model.trajectory(request, noise=noise)])[0]
    difference = difference_of(ours, theirs)
    print(f"parity {kind:12} {sampler:8} guidance {scale}: {difference:.1e}")
    assert difference <= (ZERO_SNR_TOLERANCE if (kind, sampler) == ("v_prediction", "euler") else TOLERANCE)


@pytest.mark.parametrize(("negative", "zeros"), [("a dog", True), ("a dog", False), ("", False)])
def test_guidance_goes_away_from_the_prompt_that_diffusers_takes(parts_of, negative, zeros):
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    request = ImageRequest("a red fox", negative, 32, 32, 4, 5.0, "euler", seed=5)
    model = model_of(parts_of("base"), force_zeros_for_empty_prompt=zeros)
    pipeline = pipeline_of(StableDiffusionXLPipeline, parts_of("base"), model, "euler", force_zeros_for_empty_prompt=zeros)
    theirs = drawn_by_diffusers(pipeline, request, latents=noise)
    assert difference_of(denoise_all(model, [model.trajectory(request, noise=noise)])[0], theirs) <= TOLERANCE


@pytest.mark.parametrize(("kind", "sampler"), [("base", "euler"), ("edm", "dpm++"), ("v_prediction", "ddim")])
@pytest.mark.parametrize("start_step", [0, 3])
def test_image_to_image_equals_diffusers(parts_of, model_for, kind, sampler, start_step):
    request = ImageRequest("a red fox", "", 32, 32, 6, 5.0, sampler, seed=7, image=GRADIENT, start_step=start_step)
    model = model_for(kind)
    pipeline = pipeline_of(StableDiffusionXLImg2ImgPipeline, parts_of(kind), model, sampler)
    theirs = drawn_by_diffusers(pipeline, request, image=GRADIENT, strength=(6 - start_step) / 6)
    ours = denoise_all(model, [model.trajectory(request)])[0]
    assert difference_of(ours, theirs) <= TOLERANCE


@pytest.mark.parametrize("sampler", ["euler", "dpm++"])
def test_inpainting_equals_diffusers(parts_of, model_for, sampler):
    mask = box_mask((32, 32), (0, 0, 16, 24))
    request = ImageRequest("a red fox", "", 32, 32, 10, 5.0, sampler, seed=7, image=GRADIENT, mask=mask, start_step=3)
    model = model_for("base")
    pipeline = pipeline_of(StableDiffusionXLInpaintPipeline, parts_of("base"), model, sampler)
    theirs = drawn_by_diffusers(pipeline, request, image=GRADIENT, mask_image=mask, strength=0.7)
    assert difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs) <= TOLERANCE


@pytest.mark.parametrize("kind", ["base", "edm"])
def test_to_pixels_undoes_to_latents_scaling(model_for, kind):
    family = model_for(kind).family
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        latents = family.to_latents(pixels, None)
        raw = family.vae.encode(pixels).latent_dist.mode()
        if kind == "edm":
            mean, std = (torch.tensor(EDM_AUTOENCODER[name]).view(1, 4, 1, 1) for name in ("latents_mean", "latents_std"))
            torch.testing.assert_close(latents, (raw - mean) * 0.5 / std)
        torch.testing.assert_close(family.to_pixels(latents), family.vae.decode(raw, return_dict=False)[0])


def mixed_requests(model):
    common = {"width": 32, "height": 32}
    yield model.request("a fox", **common, steps=4, sampler="euler", guidance_scale=5.0, seed=1)
    yield model.request("two dogs", **common, steps=6, sampler="dpm++", guidance_scale=7.0, negative_prompt="a cat", seed=2)
    yield model.request("a bowl of ramen", **common, steps=5, sampler="heun", guidance_scale=1.0, seed=3)
    yield model.request("a tree", **common, steps=7, sampler="euler_a", branches=((3, "a house"),), seed=4)
    yield model.request("red", **common, steps=5, sampler="ddim", morph_to="blue", count=3, seed=5)
    yield model.request("a fox", **common, steps=6, sampler="lms", image=GRADIENT, start_step=2, seed=6)
    mask = box_mask((32, 32), (0, 0, 16, 16))
    yield model.request("a fox", **common, steps=6, sampler="unipc", image=GRADIENT, mask=mask, seed=7)


def test_shared_steps_draw_what_each_draws_alone(tiny_xl):
    started = [tiny_xl.trajectory(request, request.count - 1) for request in mixed_requests(tiny_xl)]
    alone = [denoise_all(tiny_xl, [trajectory])[0] for trajectory in started]
    together = [tiny_xl.trajectory(request, request.count - 1) for request in mixed_requests(tiny_xl)]
    while running := [trajectory for trajectory in together if not trajectory.done]:
        step(tiny_xl, running)
    worst = max(difference_of(trajectory.latents, latents) for trajectory, latents in zip(together, alone, strict=True))
    print(f"shared against alone: {worst:.1e}")
    assert worst <= BATCH_TOLERANCE


async def test_engine_draws_every_kind_of_request(tiny_xl):
    async with Engine(tiny_xl) as engine:
        jobs = [engine.submit(request) for request in mixed_requests(tiny_xl)]
        results = [await job for job in jobs]
    for result in results:
        assert {image.size for image in result.images} == {(32, 32)}
        steps = result.request.steps - (result.request.start_step if result.request.image else 0)
        assert {timelapse.size for timelapse in result.timelapses} == {(4, 4 * steps)}


@pytest.mark.parametrize("kind", ["base", "v_prediction", "edm"])
def test_last_preview_shows_the_clean_latents(model_for, kind):
    model = model_for(kind)
    trajectory = model.trajectory(model.request("a fox", steps=5, sampler="euler", guidance_scale=1.0, seed=1))
    while not trajectory.done:
        step(model, [trajectory])
    (sample, timestep), prediction = trajectory.last_input, trajectory.prediction
    x_0 = model.family.predict_x_0(sample, prediction, timestep.float()[None])
    assert difference_of(x_0, trajectory.latents) <= 1e-3  # Euler's last step goes all the way
    assert model.preview_latents([trajectory])[0].shape == (4, 4, 3)


def test_size_of_the_picture_is_a_condition(tiny_xl):
    conditions = [tiny_xl.family.encode("a fox", ImageRequest("a fox", width=width, height=48)) for width in (32, 48)]
    assert conditions[0].tensors["time_ids"].tolist() == [[48, 32, 0, 0, 48, 32]]
    assert conditions[0].tensors["prompt_embeds"] is conditions[1].tensors["prompt_embeds"]


@pytest.mark.parametrize(("width", "height", "tiled"), [(1216, 832, False), (1536, 640, False), (1088, 1088, True)])
def test_only_pictures_of_more_than_the_trained_area_are_decoded_in_tiles(tiny_xl, monkeypatch, width, height, tiled):
    vae = tiny_xl.family.vae
    tiles = []
    monkeypatch.setattr(vae, "decode", lambda latents, **_: tiles.append(vae.use_tiling) or (latents,))
    monkeypatch.setattr(vae, "encode", lambda pixels: tiles.append(vae.use_tiling) or AutoencoderKLOutput(ANY_POSTERIOR))
    tiny_xl.family.to_pixels(torch.zeros(tiny_xl.latent_shape(width, height)))
    tiny_xl.family.to_latents(torch.zeros(1, 3, height, width), None)
    assert tiles == [tiled, tiled]


def test_edm_models_refuse_other_samplers(model_for):
    model = model_for("edm")
    for quality in ("draft", "standard", "fine", "classic"):
        model.validate(model.request("a fox", **model.defaults.of(quality)))
    with pytest.raises(InvalidRequestError, match="There is no sampler LMS"):
        model.validate(model.request("a fox", sampler="lms"))
