"""LoRAs in one call against diffusers' own, one at a time; needs peft (`pip install peft`)."""

import copy
import warnings

import pytest
import torch
from diffusers import StableDiffusionPipeline

from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all

pytest.importorskip("peft")
ROWS = [(), (("style", 0.8),), (("texts", -0.6), ("style", 0.5)), (("convs", 1.2),)]


@pytest.fixture(scope="module")
def pipeline(components, folder):
    parts = {name: copy.deepcopy(part) for name, part in components.items() if name != "classifier"}
    pipeline = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    with warnings.catch_warnings(action="ignore"):  # peft warns about several LoRAs
        for path in sorted(folder.iterdir()):
            pipeline.load_lora_weights(folder, weight_name=path.name, adapter_name=path.stem)
    return pipeline


def diffusers_latents(pipeline, model, request):
    if request.loras:
        pipeline.enable_lora()
        pipeline.set_adapters([name for name, _ in request.loras], [weight for _, weight in request.loras])
    else:
        pipeline.disable_lora()
    return pipeline(
        request.prompt,
        negative_prompt=request.negative_prompt,
        height=request.height,
        width=request.width,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator().manual_seed(request.seed),
        output_type="latent",
    ).images


def test_rows_equal_set_adapters(pipeline, model):
    requests = [ImageRequest("a fox", "dog", 32, 32, 3, 7.5, "ddim", seed, loras=loras) for seed, loras in enumerate(ROWS)]
    together = denoise_all(model, [model.trajectory(request) for request in requests])
    for request, found in zip(requests, together, strict=True):
        wanted = diffusers_latents(pipeline, model, request)
        difference = ((found - wanted).abs().max() / wanted.abs().max()).item()
        print(f"{request.loras}: {difference:.1e}")
        assert difference <= 1e-5
