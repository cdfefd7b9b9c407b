"""The tutorial's examples in the tutorial's order, and its loop written against diffusers' own schedulers."""

import copy

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
)
from PIL import Image

from diffusion.loading.folder import PRETRAINED
from diffusion.tutorial import ImageDiffusionModel

TOLERANCE = 1e-4
NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
TWO_PROMPTS = ["a pink doll on the roof of a skyscraper", "a green dragon, fire, a group of knights"]
SHOWCASE_PROMPTS = [
    "cute rabbit, pastel, magical background",
    "landscape, vintage style, detailed lines",
    "abstract art of a mind, highly detailed",
]
SPACESHIP = "spaceship, neon, sharp"
SIMILAR_SPACESHIPS = ["spaceship, neon, sharp, colourful background", "dark spaceship, neon, sharp"]


class RecordingModel(ImageDiffusionModel):
    """Keeps the latents of each picture that it makes."""

    latents: list

    def decode_img_latents(self, img_latents):
        self.latents.append(img_latents)
        return super().decode_img_latents(img_latents)


def random_model(components):
    """Take the six components as the tutorial does: its scheduler of similar pictures clips, as diffusers' default is."""
    return RecordingModel(
        components["vae"],
        components["tokenizer"],
        components["text_encoder"],
        components["unet"],
        LMSDiscreteScheduler(**NOISE_SCHEDULE),
        DDIMScheduler(**NOISE_SCHEDULE),
    )


def denoise_by_hand(model, scheduler, timesteps, latents, prompts, guidance_scale=7.5):
    """Denoise all latents at once, with diffusers' scheduler called at every step."""
    text_embeds = model.get_prompt_embeds(prompts)
    for timestep in timesteps:
        inputs = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
        with torch.no_grad():
            unconditional, conditional = model.unet(inputs, timestep, text_embeds).sample.chunk(2)
        guided = unconditional + guidance_scale * (conditional - unconditional)
        latents = scheduler.step(guided, timestep, latents).prev_sample
    return latents


def prompt_by_hand(model, prompts, size, steps, seed):
    scheduler = copy.deepcopy(model.scheduler_LMS)
    scheduler.set_timesteps(steps)
    torch.manual_seed(seed)
    noise = torch.randn(len(prompts), model.unet.config.in_channels, size // 8, size // 8) * scheduler.init_noise_sigma
    return denoise_by_hand(model, scheduler, scheduler.timesteps, noise, prompts)


def similar_by_hand(model, image, prompt, steps, start_step, seed):
    scheduler = copy.deepcopy(model.scheduler_DDIM)
    scheduler.set_timesteps(steps)
    torch.manual_seed(seed)
    clean = model.encode_img_latents(image)
    start = start_step * scheduler.order
    noised = scheduler.add_noise(clean, torch.randn(clean.shape), scheduler.timesteps[start].repeat(len(clean)))
    if start and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
    return denoise_by_hand(model, scheduler, scheduler.timesteps[start:], noised, [prompt])


def largest_difference(ours, theirs):
    return (ours - theirs).abs().max().item()


@pytest.fixture
def random_weights(tiny_components):
    return random_model(tiny_components)


@pytest.fixture(scope="module")
def embedded():
    return RecordingModel.from_pretrained(device="cpu", dtype=torch.float32)


@pytest.mark.parametrize(("kind", "size", "steps"), [("random_weights", 64, 50), ("embedded", 128, 8)])
def test_tutorial_examples_equal_a_loop_over_diffusers_schedulers(request, tmp_path, kind, size, steps):
    model = request.getfixturevalue(kind)
    model.latents = []

    torch.manual_seed(1)
    imgs = model.prompt_to_img(TWO_PROMPTS, size, size, steps)
    assert [img.size for img in imgs] == [(size, size)] * 2

    for index, prompt in enumerate(SHOWCASE_PROMPTS):
        torch.manual_seed(2 + index)
        imgs = model.prompt_to_img(prompt, size, size, steps)
        imgs[0].save(tmp_path / f"result_{index}.jpg")

    torch.manual_seed(5)
    imgs = model.prompt_to_img([SPACESHIP], size, size, steps)
    imgs[0].save(tmp_path / "spaceship.png")
    original_img = Image.open(tmp_path / "spaceship.png")
    for index, prompt in enumerate(SIMILAR_SPACESHIPS):
        torch.manual_seed(6 + index)
        imgs = model.similar_imgs(original_img, prompt, size, size, num_inference_steps=20, start_step=7)
        assert [img.size for img in imgs] == [(size, size)]

    expected = [prompt_by_hand(model, TWO_PROMPTS, size, steps, seed=1)]
    expected += [prompt_by_hand(model, [prompt], size, steps, seed=2 + index) for index, prompt in enumerate(SHOWCASE_PROMPTS)]
    expected += [prompt_by_hand(model, [SPACESHIP], size, steps, seed=5)]
    for index, prompt in enumerate(SIMILAR_SPACESHIPS):
        expected.append(similar_by_hand(model, original_img, prompt, 20, 7, seed=6 + index))
    differences = [largest_difference(*pair) for pair in zip(model.latents, expected, strict=True)]
    print(f"tutorial on {kind}:", *(f"{difference:.1e}" for difference in differences))
    assert max(differences) <= TOLERANCE


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")  # diffusers' second-order schedulers
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        pytest.param(PNDMScheduler, {"skip_prk_steps": True}, id="pndm"),
        pytest.param(HeunDiscreteScheduler, {}, id="second-order"),
        pytest.param(EulerAncestralDiscreteScheduler, {}, id="ancestral"),
        pytest.param(KDPM2AncestralDiscreteScheduler, {}, id="second-order-ancestral"),
        pytest.param(DDPMScheduler, {}, id="clipping"),
        pytest.param(LMSDiscreteScheduler, {"use_karras_sigmas": True}, id="karras"),
        pytest.param(DDIMScheduler, {"clip_sample": False, "timestep_spacing": "trailing"}, id="trailing"),
    ],
)
def test_both_functions_accept_any_scheduler_with_its_configuration(random_weights, kind, settings):
    model = random_weights
    scheduler = kind(**NOISE_SCHEDULE, **settings)
    model.scheduler_LMS = model.scheduler_DDIM = scheduler
    model.latents = []
    before = dict(vars(scheduler))
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    torch.manual_seed(1)
    model.prompt_to_img("a fox", 64, 64, 10)
    torch.manual_seed(2)
    model.similar_imgs(image, "a fox", 64, 64, 10, start_step=4)
    assert vars(scheduler) == before
    expected = [prompt_by_hand(model, ["a fox"], 64, 10, seed=1), similar_by_hand(model, image, "a fox", 10, 4, seed=2)]
    differences = [largest_difference(*pair) for pair in zip(model.latents, expected, strict=True)]
    scale = max(latents.abs().max().item() for latents in expected)
    print(f"{type(scheduler).__name__:32}", *(f"{difference:.1e}" for difference in differences))
    assert max(differences) <= TOLERANCE * max(1, scale)


def test_prompt_to_img_starts_from_given_latents(random_weights):
    model = random_weights
    model.latents = []
    noise = torch.randn(2, 4, 4, 8)
    first = model.prompt_to_img(["a fox", "a dog"], 32, 64, 3, 7.5, noise)
    again = model.prompt_to_img(["a fox", "a dog"], 32, 64, 3, 7.5, noise)
    assert [image.size for image in first] == [(64, 32)] * 2
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]


def test_prompt_to_img_draws_512_pixels_and_50_steps_by_default(random_weights, monkeypatch):
    asked = []
    monkeypatch.setattr(
        random_weights, "get_img_latents", lambda *arguments: asked.append(arguments[1:]) or torch.zeros(1, 4, 8, 8)
    )
    random_weights.latents = []
    random_weights.prompt_to_img("a fox")
    assert asked == [(512, 512, 50, 7.5, None)]


def test_similar_imgs_stay_closer_the_later_they_start(embedded):
    model = embedded
    model.latents = []
    image = Image.linear_gradient("L").resize((128, 128)).convert("RGB")
    for start_step in (1, 19):
        torch.manual_seed(1)
        model.similar_imgs(image, "a fox", 128, 128, 20, 1.0, start_step)
    early, late = (largest_difference(latents, model.encode_img_latents(image)) for latents in model.latents)
    assert late < early


def test_similar_imgs_take_one_picture_for_several_prompts(random_weights):
    random_weights.latents = []
    imgs = random_weights.similar_imgs(Image.new("RGB", (100, 80), "red"), ["a fox", "a dog"], 32, 64, 4, start_step=2)
    assert [img.size for img in imgs] == [(64, 32)] * 2
    assert imgs[0].tobytes() != imgs[1].tobytes()


def test_prompt_embeds_hold_the_unconditional_rows_first(random_weights):
    embeds = random_weights.get_prompt_embeds(["a fox", "a dog"])
    expected = torch.cat([random_weights.get_text_embeds(["", ""]), random_weights.get_text_embeds(["a fox", "a dog"])])
    assert torch.equal(embeds, expected)
    assert torch.equal(random_weights.get_prompt_embeds("a fox"), embeds[[0, 2]])


def test_over_long_prompts_lose_their_end_with_a_warning(random_weights):
    with pytest.warns(UserWarning, match="80 tokens and the model reads 75: the last 5 are ignored"):
        embeds = random_weights.get_text_embeds("fox " * 80)
    assert torch.equal(embeds, random_weights.get_text_embeds("fox " * 75))


def test_pictures_survive_the_way_to_latents_and_back(embedded):
    embedded.latents = []
    image = Image.radial_gradient("L").resize((128, 128)).convert("RGB")
    pixels = embedded.decode_img_latents(embedded.encode_img_latents([image, image]))
    assert pixels.shape == (2, 3, 128, 128)
    decoded = embedded.transform_imgs(pixels)
    assert all(np.abs(np.asarray(each, float) - np.asarray(image, float)).mean() < 10 for each in decoded)


def test_transform_imgs_clamps_and_rounds(random_weights):
    pixels = torch.tensor([-2.0, -1.0, 0.0, 1.0]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    (image,) = random_weights.transform_imgs(pixels)
    assert [image.getpixel((column, 0))[0] for column in range(4)] == [0, 0, 128, 255]


def test_sampling_shows_a_progress_bar(random_weights, capsys):
    random_weights.latents = []
    random_weights.prompt_to_img("a fox", 32, 32, 3)
    assert "3/3" in capsys.readouterr().err


def test_from_pretrained_takes_the_schedulers_of_the_model():
    model = ImageDiffusionModel.from_pretrained(PRETRAINED, device="cpu")
    assert isinstance(model.scheduler_LMS, LMSDiscreteScheduler)
    assert isinstance(model.scheduler_DDIM, DDIMScheduler)
    assert {model.scheduler_LMS.config.prediction_type, model.scheduler_DDIM.config.prediction_type} == {"v_prediction"}
    assert not model.scheduler_DDIM.config.clip_sample
