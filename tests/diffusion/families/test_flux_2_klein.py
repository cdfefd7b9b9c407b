"""FLUX.2 klein against diffusers' own pipelines: the same noise in gives the same latents out."""

import json
import shutil
from functools import cache

import pytest
import torch
from diffusers import Flux2KleinInpaintPipeline, Flux2KleinPipeline
from PIL import Image

from diffusion.errors import InvalidRequestError, ModelLoadError
from diffusion.families.flux_2_klein import Flux2Klein, empirical_shift
from diffusion.images.masks import box_mask
from diffusion.loading.index import family_of
from diffusion.loading.model import load_model
from diffusion.sampling.trajectory import denoise_all, step
from diffusion.serving.price import Work
from tests.support.parity import difference_of, pipeline_of
from tests.support.tiny_klein import build_components, build_published_components, model_of, save

TOLERANCE = 1e-5  # of the largest latent
BATCH_TOLERANCE = 1e-4
SIZE = {"width": 64, "height": 96}
GRADIENT = Image.linear_gradient("L").resize((64, 96)).convert("RGB")
OBLONG = Image.radial_gradient("L").resize((112, 80)).convert("RGB")
LONG_TEXT = "a red fox and " * 40  # more tokens than are read


@pytest.fixture(scope="module")
def parts_of():
    """Builds the parts of each kind once."""
    return cache(build_components)


@pytest.fixture(scope="module")
def model_for(parts_of):
    """Builds the model of each kind once."""
    return cache(lambda kind: model_of(parts_of(kind)))


@pytest.fixture(scope="module")
def folder(parts_of, tmp_path_factory):
    return save(parts_of("distilled"), tmp_path_factory.mktemp("klein") / "FLUX.2-klein-4B")


def drawn_by(kind, parts, model, request, **settings):
    """Return the latents of ``request`` by diffusers' pipeline ``kind``, as its autoencoder reads them."""
    scheduler = model.family.schedule(request.sampler, request.steps, model.latent_shape(request.width, request.height))
    scheduler.set_timesteps = lambda sigmas=None, **_: None  # they are set; Heun's takes no sigmas
    own = {"generator": torch.Generator().manual_seed(request.seed), "output_type": "latent"}
    pipeline = pipeline_of(kind, parts if request.sampler == "flow_euler" else parts | {"scheduler": scheduler})
    return pipeline(
        prompt=request.prompt,
        width=request.width,
        height=request.height,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        **own | settings,
    ).images


def cells_of(model, request, noise=None):
    """Return the latents of ``request`` by the engine, as the autoencoder reads them."""
    return model.family.to_cells(denoise_all(model, [model.trajectory(request, noise=noise)])[0])


@pytest.mark.parametrize("sampler", ["flow_euler", "flow_heun"])
@pytest.mark.parametrize(("kind", "scale"), [("distilled", 1.0), ("base", 1.0), ("base", 4.0)])
def test_text_to_image_equals_diffusers(parts_of, model_for, kind, scale, sampler):
    model = model_for(kind)
    request = model.request(LONG_TEXT, **SIZE, steps=5, guidance_scale=scale, sampler=sampler, seed=5)
    theirs = drawn_by(Flux2KleinPipeline, parts_of(kind), model, request)
    difference = difference_of(cells_of(model, request), theirs)
    print(f"parity {kind:9} guidance {scale} {sampler}: {difference:.1e}")
    assert difference <= TOLERANCE


@pytest.mark.parametrize(
    ("kind", "scale", "picture"),
    [
        ("distilled", 1.0, GRADIENT),
        ("distilled", 1.0, OBLONG.resize((73, 200))),
        ("base", 4.0, OBLONG),
    ],
    ids=["same", "uneven", "oblong"],
)
def test_edit_equals_diffusers(parts_of, model_for, kind, scale, picture):
    model = model_for(kind)
    request = model.request("make it blue", **SIZE, steps=4, guidance_scale=scale, seed=5, image=picture, is_edit=True)
    theirs = drawn_by(Flux2KleinPipeline, parts_of(kind), model, request, image=picture)
    difference = difference_of(cells_of(model, request), theirs)
    print(f"parity {kind:9} guidance {scale}, edit of {picture.size}: {difference:.1e}")
    assert difference <= TOLERANCE
    plain = model.request("make it blue", **SIZE, steps=4, guidance_scale=scale, seed=5)
    assert difference_of(cells_of(model, plain), theirs) > 100 * TOLERANCE


def test_edit_in_the_published_shape_equals_diffusers(pytestconfig):
    if not pytestconfig.getoption("--published"):
        pytest.skip("takes ten seconds: pass --published")
    parts = build_published_components()
    model = model_of(parts)
    request = model.request("make it blue", width=128, height=192, steps=4, seed=3, image=OBLONG, is_edit=True)
    theirs = drawn_by(Flux2KleinPipeline, parts, model, request, image=OBLONG)
    difference = difference_of(cells_of(model, request), theirs)
    print(f"published shape, widths / 8: {difference:.1e}")
    assert difference <= BATCH_TOLERANCE


@pytest.mark.parametrize(("kind", "scale"), [("distilled", 1.0), ("base", 4.0)])
def test_inpainting_equals_diffusers(parts_of, model_for, kind, scale):
    model = model_for(kind)
    mask = box_mask((64, 96), (0, 0, 32, 64))
    start = {"image": GRADIENT, "mask": mask, "start_step": 3}
    request = model.request("a red fox", **SIZE, steps=10, guidance_scale=scale, seed=7, **start)
    theirs = drawn_by(Flux2KleinInpaintPipeline, parts_of(kind), model, request, image=GRADIENT, mask_image=mask, strength=0.7)
    assert difference_of(cells_of(model, request), theirs) <= TOLERANCE


def test_image_to_image_without_seeing_it_follows_the_straight_line_to_noise(model_for):
    model = model_for("distilled")
    request = model.request("a red fox", **SIZE, steps=6, seed=7, image=GRADIENT, start_step=3)
    noise = torch.randn(model.latent_shape(64, 96), generator=torch.Generator().manual_seed(7))
    trajectory = model.trajectory(request)
    sigma = model.family.schedule("flow_euler", 6, noise.shape).sigmas[3]
    clean = model.encode_image(GRADIENT, None)
    assert difference_of(trajectory.sample, (1 - sigma) * clean + sigma * noise) <= TOLERANCE
    assert set(trajectory.conditions.tensors) == {"prompt_embeds"}


def mixed_requests(model):
    yield model.request("a fox", **SIZE, steps=4, seed=1)
    yield model.request("two dogs", **SIZE, steps=6, sampler="flow_heun", guidance_scale=3.0, seed=2)
    yield model.request("a tree", **SIZE, steps=7, branches=((3, "a house, then a longer text"),), seed=4)
    yield model.request("red", **SIZE, steps=5, morph_to="blue, and some more words than before", count=3, seed=5)
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, start_step=2, seed=6)


def mixed_edits(model):
    """Yield requests that see pictures of one size."""
    yield model.request("a fox", **SIZE, steps=6, image=GRADIENT, mask=box_mask((64, 96), (0, 0, 16, 16)), seed=7)
    yield model.request("make it red", **SIZE, steps=4, image=GRADIENT.rotate(180), is_edit=True, seed=8)
    yield model.request(
        "make it blue", **SIZE, steps=5, image=GRADIENT, is_edit=True, guidance_scale=4.0, branches=((2, "green"),), seed=9
    )


@pytest.mark.parametrize("requests", [mixed_requests, mixed_edits])
def test_shared_steps_draw_what_each_draws_alone(model_for, requests):
    model = model_for("base")
    alone = [denoise_all(model, [model.trajectory(request, request.count - 1)])[0] for request in requests(model)]
    together = [model.trajectory(request, request.count - 1) for request in requests(model)]
    while running := [trajectory for trajectory in together if not trajectory.done]:
        step(model, running)
    worst = max(difference_of(trajectory.latents, latents) for trajectory, latents in zip(together, alone, strict=True))
    print(f"shared against alone: {worst:.1e}")
    assert worst <= BATCH_TOLERANCE


def test_rows_that_see_no_picture_share_no_call_with_those_that_see_one(model_for):
    model = model_for("distilled")
    plain = model.request("a fox", **SIZE, steps=2)
    edit = plain.replace(image=GRADIENT, is_edit=True)
    with pytest.raises(ValueError, match="some rows have reference and others have none"):
        step(model, [model.trajectory(plain), model.trajectory(edit)])


def test_price_counts_the_picture_that_is_seen(model_for):
    model = model_for("distilled")
    plain = model.request("a fox", **SIZE, steps=4)
    edit = plain.replace(image=OBLONG, is_edit=True)
    similar = plain.replace(image=GRADIENT)
    plain_work, edit_work, similar_work = (Work.of(request, model) for request in (plain, edit, similar))
    assert plain_work == similar_work
    assert plain_work.shape == (1, 16, 6, 4)
    assert edit_work.shape == (1, 16, 6 * 4 + 5 * 7)
    assert edit_work.rows == plain_work.rows


def test_last_preview_shows_the_clean_latents(model_for):
    model = model_for("distilled")
    trajectory = model.trajectory(model.request("a fox", **SIZE, seed=1))
    while not trajectory.done:
        step(model, [trajectory])
    (sample, timestep), prediction = trajectory.last_input, trajectory.prediction
    x_0 = model.family.predict_x_0(sample, prediction, timestep.float()[None])
    assert difference_of(x_0, trajectory.latents) <= 1e-5
    assert model.preview_latents([trajectory])[0].shape == (6, 4, 3)


def test_to_pixels_undoes_the_statistics_and_patches_of_to_latents(model_for):
    family = model_for("base").family
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        raw = family.vae.encode(pixels).latent_dist.mode()
        torch.testing.assert_close(family.to_cells(family.to_latents(pixels, None)), raw)
        torch.testing.assert_close(
            family.to_pixels(family.to_latents(pixels, None)), family.vae.decode(raw, return_dict=False)[0]
        )


@pytest.mark.parametrize(("kind", "steps", "scale", "rows"), [("distilled", 4, 1.0, 1), ("base", 50, 4.0, 2)])
def test_every_quality_suits_the_model(model_for, kind, steps, scale, rows):
    model = model_for(kind)
    for quality in ("draft", "standard", "fine", "classic"):
        model.validate(model.request("a fox", **model.defaults.of(quality)))
    standard = model.request("a fox")
    assert (standard.steps, standard.guidance_scale, model.rows(standard)) == (steps, scale, rows)


def test_distilled_model_takes_no_second_row_and_no_negative_prompt(model_for):
    model = model_for("distilled")
    assert model.rows(model.request("a fox", guidance_scale=7.0)) == 1
    with pytest.raises(InvalidRequestError, match="reads no negative prompt"):
        model.validate(model.request("a fox", negative_prompt="a dog"))


@pytest.mark.parametrize("tokens", [200, 4096, 4301])
@pytest.mark.parametrize("steps", [4, 50])
def test_empirical_shift_equals_that_of_diffusers(tokens, steps):
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    assert empirical_shift(tokens, steps) == pytest.approx(compute_empirical_mu(tokens, steps))


def test_load_model_draws_a_folder_as_its_parts_do(folder, model_for):
    loaded = load_model(folder, "cpu", torch.float32)
    settings = SIZE | {"steps": 2, "seeds": [4], "image": OBLONG, "is_edit": True}
    ours, theirs = (model.generate(["make it blue"], **settings)[0] for model in (loaded, model_for("distilled")))
    assert ours.tobytes() == theirs.tobytes()
    assert (loaded.defaults.steps, loaded.defaults.guidance_scale, loaded.edits) == (4, 1.0, True)
    assert not loaded.reads_negative_prompt


@pytest.mark.parametrize("pipeline", ["Flux2KleinPipeline", "Flux2KleinInpaintPipeline"])
def test_family_of_finds_klein(folder, tmp_path, pipeline):
    configs = shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    change(configs / "model_index.json", _class_name=pipeline)
    assert family_of(str(configs)) is Flux2Klein


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("transformer/config.json", {"in_channels": 32}, "its transformer reads 32 numbers a token"),
        ("transformer/config.json", {"guidance_embeds": True}, "its transformer reads the guidance scale"),
        ("transformer/config.json", {"joint_attention_dim": 16}, "its transformer reads 16 numbers of text"),
        ("text_encoder/config.json", {"num_hidden_layers": 12}, "its text encoder has 12 layers"),
        ("vae/config.json", {"patch_size": [4, 4]}, "its latents have patches of other sizes"),
        ("model_index.json", {"_class_name": "Flux2KleinKVPipeline"}, "it is a model for Flux2KleinKVPipeline of diffusers"),
        ("model_index.json", {"_class_name": "Flux2Pipeline"}, "it is a model for Flux2Pipeline of diffusers"),
    ],
)
def test_family_of_refuses_what_is_drawn_otherwise(folder, tmp_path, file, values, words):
    configs = shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    change(configs / file, **values)
    with pytest.raises(ModelLoadError, match=words):
        family_of(str(configs))


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
