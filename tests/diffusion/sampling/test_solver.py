"""What is read off a scheduler does what the scheduler does."""

import pytest
import torch

from diffusion.loading.random_weights import TINY_SCHEDULER
from diffusion.sampling.denoise import InpaintContext, denoise
from diffusion.sampling.samplers import SAMPLERS

SHAPE = (1, 4, 6, 5)
TOLERANCE = 5e-5  # of the largest latents; float32, over 50 steps


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def predictions(count):
    return torch.randn(count, *SHAPE, generator=seeded(1))


def ours(sampler, config, steps, start_step=0, inpaint=None):
    solver = SAMPLERS[sampler].solver(config, steps, start_step)
    latents = inpaint and solver.add_noise(inpaint.latents, inpaint.noise, 0)
    if latents is None:
        latents = solver.init_noise_sigma * torch.randn(SHAPE, generator=seeded(0))
    going, asked = denoise(latents, solver, seeded(2), inpaint), []
    try:
        asked.append(next(going))
        for prediction in predictions(len(solver.steps)):
            asked.append(going.send(prediction))
    except StopIteration as finished:
        return asked, finished.value


def theirs(sampler, config, steps, start_step=0, inpaint=None):
    """The loop as diffusers' pipelines for pictures and masks have it, with the scheduler itself."""
    chosen = SAMPLERS[sampler]
    scheduler = chosen.scheduler.from_config(config, **chosen.settings)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps[start_step * scheduler.order :]
    if inpaint is None:
        latents = scheduler.init_noise_sigma * torch.randn(SHAPE, generator=seeded(0))
    else:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start_step * scheduler.order)
        latents = scheduler.add_noise(inpaint.latents, inpaint.noise, timesteps[:1])
    extra, asked = {"generator": seeded(2)} if chosen.draws_noise else {}, []
    for index, (t, prediction) in enumerate(zip(timesteps, predictions(len(timesteps)), strict=True)):
        asked.append((scheduler.scale_model_input(latents, t), t))
        latents = scheduler.step(prediction, t, latents, **extra).prev_sample
        if inpaint is not None:
            kept = inpaint.latents
            if index + 1 < len(timesteps):
                kept = scheduler.add_noise(kept, inpaint.noise, timesteps[index + 1 : index + 2])
            latents = inpaint.mask * latents + (1 - inpaint.mask) * kept
    return asked, latents


def assert_same(sampler, config, *how):
    (asked, latents), (their_asked, their_latents) = ours(sampler, config, *how), theirs(sampler, config, *how)
    assert len(asked) == len(their_asked)
    for (sample, t), (their_sample, their_t) in zip(asked, their_asked, strict=True):
        assert t == their_t
        assert (sample - their_sample).abs().max() <= TOLERANCE * their_sample.abs().max()
    assert (latents - their_latents).abs().max() <= TOLERANCE * their_latents.abs().max()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_linearize_equals_the_scheduler_from_noise(sampler, prediction_type):
    for steps in (1, 2, 3, 17, 50):
        assert_same(sampler, TINY_SCHEDULER | {"prediction_type": prediction_type}, steps)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_linearize_equals_the_scheduler_when_inpainting(sampler, prediction_type):
    clean, noise = torch.randn(2, *SHAPE, generator=seeded(3))
    inpaint = InpaintContext(clean, noise, (torch.arange(5) < 3).float().expand(1, 1, 6, 5))
    for start_step in (0, 1, 5, 9):
        assert_same(sampler, TINY_SCHEDULER | {"prediction_type": prediction_type}, 10, start_step, inpaint)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_linearize_equals_the_scheduler_for_other_timestep_spacings(spacing):
    for sampler in SAMPLERS:
        assert_same(sampler, TINY_SCHEDULER | {"timestep_spacing": spacing}, 8)


def test_schedule_ignores_clipping_in_the_configuration():
    for sampler in SAMPLERS:
        plain, clipping = (ours(sampler, TINY_SCHEDULER | {"clip_sample": clips}, 6)[1] for clips in (False, True))
        assert torch.equal(plain, clipping)


@pytest.mark.parametrize(
    ("sampler", "most"), [("ddim", 2), ("euler", 2), ("euler_a", 2), ("heun", 4), ("dpm++", 4), ("lms", 8)]
)
def test_solver_memory_is_the_longest_history(sampler, most):
    assert SAMPLERS[sampler].solver(TINY_SCHEDULER, 30).memory == most
