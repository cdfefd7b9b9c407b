"""Our loop against diffusers' own pipelines: the same noise in gives the same latents out."""

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image

from diffusion.loading.random_weights import TINY_SCHEDULER
from diffusion.request import ImageRequest
from diffusion.sampling.samplers import SAMPLERS
from diffusion.sampling.trajectory import denoise_all
from tests.support.models import model_of
from tests.support.parity import difference_of

TOLERANCE = 1e-5  # of the largest latents


def pipeline(kind, components, sampler):
    chosen = SAMPLERS[sampler]
    config = TINY_SCHEDULER | {"prediction_type": components["scheduler"].config.prediction_type}
    scheduler = chosen.scheduler.from_config(config, **chosen.settings)
    made = kind(
        **{**components, "scheduler": scheduler},
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
def test_text_to_image_equals_diffusers(components, sampler, guidance_scale, record_property):
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    request = ImageRequest("a red fox", "a dog", 32, 32, 5, guidance_scale, sampler, seed=5)
    extra = {"eta": 0.3} if sampler == "tcd" else {}  # the default of its scheduler, which the pipeline overrides
    theirs = pipeline(StableDiffusionPipeline, components, sampler)(
        request.prompt,
        **extra,
        negative_prompt=request.negative_prompt,
        height=32,
        width=32,
        num_inference_steps=5,
        guidance_scale=guidance_scale,
        latents=noise,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).images

    model = model_of(components)
    ours = denoise_all(model, [model.trajectory(request, noise=noise)])[0]

    difference = difference_of(ours, theirs)
    print(f"parity {sampler:20} guidance {guidance_scale}: {difference:.1e}")
    assert difference <= TOLERANCE


@pytest.mark.parametrize("start_step", [0, 3, 9])
def test_image_to_image_equals_diffusers(components, start_step):
    gradient = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
    request = ImageRequest("a red fox", "", 32, 32, 10, 7.5, "ddim", seed=7, image=gradient, start_step=start_step)
    theirs = pipeline(StableDiffusionImg2ImgPipeline, components, "ddim")(
        request.prompt,
        negative_prompt="",
        image=gradient,
        strength=(10 - start_step) / 10,
        num_inference_steps=10,
        guidance_scale=7.5,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images

    model = model_of(components)
    ours = denoise_all(model, [model.trajectory(request)])[0]

    difference = difference_of(ours, theirs)
    print(f"parity image-to-image from step {start_step}: {difference:.1e}")
    assert difference <= TOLERANCE
