"""Z-Image against diffusers' own pipelines: the same noise in gives the same latents out."""

from functools import cache

import pytest
import torch
from diffusers import ZImageImg2ImgPipeline, ZImageInpaintPipeline, ZImagePipeline
from PIL import Image

from diffusion.errors import InvalidRequestError
from diffusion.images.masks import box_mask
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.trajectory import denoise_all, step
from tests.support.parity import difference_of, drawn_by_diffusers, pipeline_of
from tests.support.tiny_z_image import build_components, model_of

TOLERANCE = 1e-5  # of the largest latent
BATCH_TOLERANCE = 1e-4
SIZE = {"width": 32, "height": 48}
GRADIENT = Image.linear_gradient("L").resize((32, 48)).convert("RGB")


@pytest.fixture(scope="module")
def parts_of():
    """Builds the parts of each kind once."""
    return cache(build_components)


@pytest.fixture(scope="module")
def model_for(parts_of):
    """Builds the model of each kind once."""
    return cache(lambda kind: model_of(parts_of(kind)))


@pytest.mark.parametrize(
    ("kind", "scale", "negative"),
    [("turbo", 0.0, ""), ("turbo", 0.5, ""), ("base", 4.0, "a dog, and a long list of other things that it is not")],
)
@pytest.mark.parametrize("size", [(32, 48), (96, 64)])
def test_text_to_image_equals_diffusers(parts_of, model_for, kind, scale, negative, size):
    model = model_for(kind)
    width, height = size
    noise = torch.randn(model.latent_shape(width, height), generator=torch.Generator().manual_seed(3))
    request = model.request(
        "a red fox!", negative_prompt=negative, width=width, height=height, steps=4, guidance_scale=scale, seed=5
    )
    theirs = drawn_by_diffusers(pipeline_of(ZImagePipeline, parts_of(kind)), request, latents=noise.clone())
    ours = denoise_all(model, [model.trajectory(request, noise=noise)])[0]
    print(f"parity {kind:8} guidance {scale} {width}x{height}: {difference_of(ours, theirs):.1e}")
    assert difference_of(ours, theirs) <= TOLERANCE


@pytest.mark.parametrize("start_step", [0, 3])
def test_image_to_image_equals_diffusers(parts_of, model_for, start_step):
    model = model_for("turbo")
    request = model.request("a red fox", **SIZE, steps=6, seed=7, image=GRADIENT, start_step=start_step)
    pipeline = pipeline_of(ZImageImg2ImgPipeline, parts_of("turbo"))
    theirs = drawn_by_diffusers(pipeline, request, image=GRADIENT, strength=(6 - start_step) / 6)
    assert difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs) <= TOLERANCE


def test_inpainting_equals_diffusers(parts_of, model_for):
    model = model_for("turbo")
    mask = box_mask((32, 48), (0, 0, 16, 32))
    request = model.request("a red fox", **SIZE, steps=10, seed=7, image=GRADIENT, mask=mask, start_step=3)
    pipeline = pipeline_of(ZImageInpaintPipeline, parts_of("turbo"))
    theirs = drawn_by_diffusers(pipeline, request, image=GRADIENT, mask_image=mask, strength=0.7)
    assert difference_of(denoise_all(model, [model.trajectory(request)])[0], theirs) <= TOLERANCE


def mixed_requests(model):
    """Yield requests whose texts are padded to other lengths."""
    yield model.request("a fox", **SIZE, steps=4, seed=1)
    yield model.request("two dogs and " * 8, **SIZE, steps=6, sampler="flow_heun", guidance_scale=3.0, seed=2)
    yield model.request("a tree", **SIZE, steps=7, branches=((3, "a house, then a much longer text than that"),), seed=4)
    yield model.request("red", **SIZE, steps=5, morph_to="blue, and some more words than before it", count=3, seed=5)
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, start_step=2, negative_prompt="a dog " * 12, seed=6)
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, mask=box_mask((32, 48), (0, 0, 16, 16)), seed=7)


@pytest.mark.parametrize("kind", ["turbo", "base"])
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


def test_morph_ends_at_the_texts_of_both_prompts(model_for):
    family = model_for("turbo").family
    request = model_for("turbo").request("a fox")
    start, end = family.match([family.encode("a fox", request), family.encode("a fox " * 20, request)], request)
    for weight, text in ((0.0, start), (1.0, end)):
        mixed = start.slerp(end, weight).tensors["prompt_embeds"]
        torch.testing.assert_close(mixed, text.tensors["prompt_embeds"])
        assert torch.equal((mixed != 0).any(-1), (text.tensors["prompt_embeds"] != 0).any(-1))


def test_predict_equals_the_call_of_the_transformer_with_lists(model_for):
    family = model_for("turbo").family
    request = model_for("turbo").request("a fox")
    latents = torch.randn(2, 4, 6, 4, generator=torch.Generator().manual_seed(1))
    texts = [family.encode(text, request) for text in ("a fox", "a fox " * 20)]
    words = [text.tensors["prompt_embeds"][0] for text in texts]
    timesteps = torch.tensor([900.0, 300.0])
    with torch.inference_mode():
        lists = list(latents[:, :, None].unbind()), (1000 - timesteps) / 1000, [text[(text != 0).any(-1)] for text in words]
        theirs = -torch.stack(family.denoiser(*lists, return_dict=False)[0])[:, :, 0]
        ours = family.predict(latents, timesteps, **Conditions.stack(texts).tensors)
    assert difference_of(ours, theirs) <= TOLERANCE


def test_last_preview_shows_the_clean_latents(model_for):
    model = model_for("turbo")
    trajectory = model.trajectory(model.request("a fox", **SIZE, seed=1))
    while not trajectory.done:
        step(model, [trajectory])
    (sample, timestep), prediction = trajectory.last_input, trajectory.prediction
    x_0 = model.family.predict_x_0(sample, prediction, timestep.float()[None])
    assert difference_of(x_0, trajectory.latents) <= 1e-5
    assert model.preview_latents([trajectory])[0].shape == (6, 4, 3)


@pytest.mark.parametrize(("kind", "steps", "scale", "rows"), [("turbo", 8, 0.0, 1), ("base", 40, 4.0, 2)])
def test_every_quality_suits_the_model(model_for, kind, steps, scale, rows):
    model = model_for(kind)
    for quality in ("draft", "standard", "fine", "classic"):
        model.validate(model.request("a fox", **model.defaults.of(quality)))
    standard = model.request("a fox")
    assert (standard.steps, standard.guidance_scale, model.rows(standard)) == (steps, scale, rows)


def test_prompt_may_be_as_long_as_the_chat_around_it_leaves(model_for):
    model = model_for("turbo")
    model.validate(model.request("a" * model.max_tokens))
    chat = model.tokenizers[0].apply_chat_template(
        [{"role": "user", "content": "a" * model.max_tokens}], tokenize=False, add_generation_prompt=True
    )
    assert len(model.tokenizers[0](chat).input_ids) == 512
    with pytest.raises(InvalidRequestError, match="shorten it"):
        model.validate(model.request("a" * (model.max_tokens + 1)))
