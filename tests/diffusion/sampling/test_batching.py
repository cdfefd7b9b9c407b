"""A picture must not depend on who shares its steps."""

import pytest
import torch
from PIL import Image

from diffusion.images.masks import box_mask
from diffusion.request import ImageRequest
from diffusion.sampling.samplers import SAMPLERS
from diffusion.sampling.trajectory import denoise_all, step

TOLERANCE = 1e-3


def requests():
    for index, sampler in enumerate(SAMPLERS):
        scale = (1.0, 3.0, 7.5)[index % 3]
        yield ImageRequest(f"animal {index}", "", 32, 32, 5 + index, scale, sampler, seed=index)
    picture, plain = Image.linear_gradient("L").resize((32, 32)).convert("RGB"), ImageRequest("animal", "", 32, 32, 7)
    yield plain.replace(image=picture, mask=box_mask((32, 32), (0, 0, 20, 20)), sampler="heun")
    yield plain.replace(branches=((3, "plant"),), sampler="dpm++")
    yield plain.replace(morph_to="plant", count=3)
    yield plain.replace(guidance_interval=(0.2, 0.6), sampler="euler")


def test_step_draws_mixed_requests_as_when_alone(tiny_model):
    alone = [denoise_all(tiny_model, [tiny_model.trajectory(request, request.count - 1)])[0] for request in requests()]

    # Every second trajectory joins two steps later than the one before it, and a neighbour is dropped midway.
    waiting = [tiny_model.trajectory(request, request.count - 1) for request in requests()]
    everyone, running = list(waiting), [tiny_model.trajectory(ImageRequest("dropped", "", 32, 32, 30, seed=99))]
    evaluations = 0
    while waiting or any(not trajectory.done for trajectory in running[1:]):
        if waiting and evaluations % 2 == 0:
            running.append(waiting.pop(0))
        if evaluations == 9:
            running[0] = tiny_model.trajectory(ImageRequest("another", "", 32, 32, 3, seed=98))
        step(tiny_model, [trajectory for trajectory in running if not trajectory.done])
        evaluations += 1

    differences = [
        (trajectory.latents - latents).abs().max().item() for trajectory, latents in zip(everyone, alone, strict=True)
    ]
    print(f"batch independence: {max(differences):.1e}")
    assert max(differences) <= TOLERANCE


def test_step_takes_one_row_without_guidance(tiny_model, monkeypatch):
    predict, rows = tiny_model.predict_noise, []

    def counted(latents, timesteps, prompt_embeds):
        rows.append(len(latents))
        return predict(latents, timesteps, prompt_embeds)

    monkeypatch.setattr(tiny_model, "predict_noise", counted)
    denoise_all(tiny_model, [tiny_model.trajectory(ImageRequest("a fox", "", 32, 32, 3, 1.0))])
    denoise_all(tiny_model, [tiny_model.trajectory(ImageRequest("a fox", "", 32, 32, 3, 2.0))])
    denoise_all(tiny_model, [tiny_model.trajectory(ImageRequest("a fox", "", 32, 32, 5, 2.0, guidance_interval=(0.2, 0.6)))])

    assert rows == [1, 1, 1, 2, 2, 2, 1, 2, 2, 1, 1]


def test_guidance_interval_may_be_empty_or_whole(tiny_model):
    def made(scale, interval):
        request = ImageRequest("a fox", "", 32, 32, 4, scale, guidance_interval=interval)
        return denoise_all(tiny_model, [tiny_model.trajectory(request)])[0]

    torch.testing.assert_close(made(5.0, (0.5, 0.5)), made(1.0, (0.0, 1.0)))
    assert (made(5.0, (0.0, 0.5)) - made(5.0, (0.0, 1.0))).abs().max() > 1e-3


def test_guidance_interval_counts_from_noise_for_later_starts(tiny_model):
    picture = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
    request = ImageRequest("a fox", "", 32, 32, 10, 2.0, "heun", image=picture, start_step=4, guidance_interval=(0.5, 0.7))
    trajectory, rows = tiny_model.trajectory(request), []
    while not trajectory.done:
        rows.append(trajectory.rows)
        step(tiny_model, [trajectory])
    assert rows == [1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 1]


def rows_of(model, request):
    trajectory, rows = model.trajectory(request), []
    while not trajectory.done:
        rows.append(trajectory.rows)
        step(model, [trajectory])
    return rows


FOX = ImageRequest("a fox", "", 32, 32, 6, 2.0, "ddim", guidance_period=2)


@pytest.mark.parametrize(
    ("request_", "rows"),
    [
        (FOX, [2, 1, 2, 1, 2, 1]),
        (FOX.replace(guidance_period=4), [2, 1, 1, 1, 2, 1]),
        (FOX.replace(guidance_interval=(0.2, 0.7)), [1, 1, 2, 1, 2, 1]),
        (FOX.replace(guidance_scale=1.0), [1] * 6),
        (FOX.replace(branches=((3, "a dog"),)), [2, 1, 2, 2, 1, 2]),
        (FOX.replace(sampler="heun", steps=3), [2, 1, 2, 1, 2]),
        (FOX.replace(sampler="lms"), [2] * 6),
    ],
    ids=["every second call", "every fourth", "interval", "without guidance", "branch", "two calls a step", "LMS"],
)
def test_guidance_period_saves_rows(tiny_model, request_, rows):
    assert rows_of(tiny_model, request_) == rows


@pytest.mark.parametrize("sampler", ["ddim", "euler_a", "heun", "dpm++", "unipc"])
def test_picture_with_a_guidance_period_is_nearly_that_without(tiny_model, sampler):
    def made(**changes):
        request = FOX.replace(sampler=sampler, steps=8, guidance_scale=3.0).replace(**changes)
        return denoise_all(tiny_model, [tiny_model.trajectory(request)])[0]

    whole = made(guidance_period=1)
    without = (made(guidance_scale=1.0) - whole).square().mean()
    assert (made(guidance_period=2) - whole).square().mean() < without / 4


def test_seed_decides_the_image(tiny_model):
    def latents(seed):
        return denoise_all(tiny_model, [tiny_model.trajectory(ImageRequest("a", "", 32, 32, 4, seed=seed))])[0]

    assert torch.equal(latents(1), latents(1))
    assert not torch.allclose(latents(1), latents(2), atol=0.1)


def test_trajectory_uses_the_seed_of_its_image(tiny_model):
    both = ImageRequest("a", "", 32, 32, 4, seed=1, count=2)
    first, second = denoise_all(tiny_model, [tiny_model.trajectory(both, index) for index in range(2)])
    alone = denoise_all(tiny_model, [tiny_model.trajectory(ImageRequest("a", "", 32, 32, 4, seed=2))])[0]

    assert (second - alone).abs().max() <= TOLERANCE
    assert (second - first).abs().max() > 0.1
