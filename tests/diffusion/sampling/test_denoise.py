"""Other ways of making a picture: a mask, a branch, a morph. For every sampler, each is the same loop."""

import pytest
import torch
from PIL import Image

from diffusion.images.masks import box_mask
from diffusion.request import ImageRequest
from diffusion.sampling.slerp import slerp
from diffusion.sampling.trajectory import denoise_all, step
from tests.support.samplers import KINDS_OF_STEPS

SIZE = (32, 32)
LEFT = (0, 0, 16, 32)
GRADIENT = Image.linear_gradient("L").resize(SIZE).convert("RGB")
samplers = pytest.mark.parametrize("sampler", KINDS_OF_STEPS)


def asked(prompt="a fox", **settings):
    return ImageRequest(prompt, **{"width": 32, "height": 32, "steps": 6, "seed": 3} | settings)


def masked(box, **settings):
    return asked(**{"image": GRADIENT, "mask": box_mask(SIZE, box)} | settings)


def latents(model, request, index=0):
    return denoise_all(model, [model.trajectory(request, index)])[0]


def samples(model, request):
    """What the network is asked at each evaluation."""
    trajectory, seen = model.trajectory(request), []
    while not trajectory.done:
        seen.append((trajectory.sample, trajectory.timestep))
        step(model, [trajectory])
    return seen


@samplers
def test_empty_mask_returns_the_latents_of_the_image(tiny_model, sampler):
    clean = tiny_model.encode_image(GRADIENT, torch.Generator().manual_seed(3))
    assert torch.equal(latents(tiny_model, masked((0, 0, 0, 0), sampler=sampler)), clean)


@samplers
def test_full_mask_changes_nothing(tiny_model, sampler):
    whole = masked((0, 0, *SIZE), sampler=sampler, start_step=1)
    assert torch.equal(latents(tiny_model, whole), latents(tiny_model, whole.replace(mask=None)))


@samplers
def test_blend_known_keeps_known_cells_alone(tiny_model, sampler):
    clean = tiny_model.encode_image(GRADIENT, torch.Generator().manual_seed(3))
    made = latents(tiny_model, masked(LEFT, sampler=sampler))
    assert torch.equal(made[..., 2:], clean[..., 2:])
    assert (made[..., :2] - clean[..., :2]).abs().mean() > 0.1


@samplers
def test_blend_known_noises_to_the_level_of_the_step(tiny_model, sampler):
    generator = torch.Generator().manual_seed(3)
    clean = tiny_model.encode_image(GRADIENT, generator)
    noise = torch.randn(clean.shape, generator=generator)
    for sample, t in samples(tiny_model, masked(LEFT, sampler=sampler, steps=12)):
        alpha_bar = tiny_model.family.alpha_bar(t)
        expected = alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise
        torch.testing.assert_close(sample[..., 2:], expected[..., 2:], atol=0.02, rtol=0)


def test_latent_mask_includes_touched_cells(tiny_model):
    clean = tiny_model.encode_image(GRADIENT, torch.Generator().manual_seed(3))
    changed = (latents(tiny_model, masked((15, 15, 17, 17))) != clean).any(1)[0]
    assert changed.nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_finish_restores_unmasked_pixels(tiny_model):
    settings = {"steps": 4, "image": GRADIENT, "mask": box_mask(SIZE, LEFT)}
    picture = tiny_model.generate(["a fox"], seeds=[3], **settings)[0]
    assert picture.crop((16, 0, 32, 32)).tobytes() == GRADIENT.crop((16, 0, 32, 32)).tobytes()
    assert picture.crop(LEFT).tobytes() != GRADIENT.crop(LEFT).tobytes()


@samplers
def test_branch_with_the_same_prompt_changes_nothing(tiny_model, sampler):
    request = asked(sampler=sampler)
    assert torch.equal(latents(tiny_model, request.branch_at(3, "a fox")), latents(tiny_model, request))


@samplers
@pytest.mark.parametrize("settings", [{}, {"image": GRADIENT, "start_step": 2}])
def test_branch_follows_its_parent_up_to_its_step(tiny_model, sampler, settings):
    request = asked(sampler=sampler, **settings)
    parent, branch = samples(tiny_model, request), samples(tiny_model, request.branch_at(4, "a red apple"))
    alike = [torch.equal(one, other) for (one, _), (other, _) in zip(parent, branch, strict=True)]
    evaluations = tiny_model.solver(sampler, 6, request.start_step, ()).first_call(4)
    # The evaluation of step 4 is the first to hear the new prompt, so that the one after it sees other latents.
    assert alike == [index <= evaluations for index in range(len(parent))]


def test_branch_of_a_branch_keeps_earlier_prompts(tiny_model):
    first = asked().branch_at(2, "a dog")
    second = first.branch_at(4, "a red apple")
    assert second.branches == ((2, "a dog"), (4, "a red apple"))
    assert first.branch_at(1, "a pear").branches == ((1, "a pear"),)
    alike = [torch.equal(a, b) for (a, _), (b, _) in zip(samples(tiny_model, first), samples(tiny_model, second), strict=True)]
    assert alike == [True] * 5 + [False]


@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize("sampler", ["lms", "heun", "dpm++"])
def test_morph_starts_and_ends_with_images_of_its_prompts(tiny_model, sampler, guidance_scale):
    morph = asked("a fox", morph_to="a red apple", count=5, sampler=sampler, guidance_scale=guidance_scale)
    ends = asked("a fox", seed=3), asked("a red apple", seed=4)
    for index, end in zip((0, 4), ends, strict=True):
        alone = latents(tiny_model, end.replace(sampler=sampler, guidance_scale=guidance_scale))
        torch.testing.assert_close(latents(tiny_model, morph, index), alone, atol=1e-3, rtol=0)


def test_morph_frames_move_steadily(tiny_model):
    morph = asked("a fox", morph_to="a red apple", count=5)
    frames = [latents(tiny_model, morph, index) for index in range(5)]
    to_first, to_last = ([(frame - end).norm().item() for frame in frames] for end in (frames[0], frames[-1]))
    assert to_first == sorted(to_first) and to_last == sorted(to_last, reverse=True)


def test_slerp_keeps_the_variance_of_noise():
    start, end = torch.randn(2, 1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    for weight in (0.0, 0.25, 0.5, 0.75, 1.0):
        assert abs(slerp(start, end, weight).std().item() - 1) < 0.02
    torch.testing.assert_close(slerp(start, start, 0.5), start)
