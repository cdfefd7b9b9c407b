"""What is read off a scheduler does what the scheduler does."""

import pytest
import torch

from diffusion.sampling.denoise import SAMPLERS, Known, denoise
from tests.conftest import SCHEDULER

SHAPE = (1, 4, 6, 5)
TOLERANCE = 5e-5  # of the largest latents; float32, over 50 steps


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def predictions(count):
    return torch.randn(count, *SHAPE, generator=seeded(1))


def ours(sampler, config, steps, start_step=0, known=None):
    solver = SAMPLERS[sampler].solver(config, steps, start_step)
    latents = known and solver.noised(known.latents, known.noise, 0)
    if latents is None:
        latents = solver.init_noise_sigma * torch.randn(SHAPE, generator=seeded(0))
    going, asked = denoise(latents, solver, seeded(2), known), []
    try:
        asked.append(next(going))
        for prediction in predictions(len(solver.steps)):
            asked.append(going.send(prediction))
    except StopIteration as finished:
        return asked, finished.value


def theirs(sampler, config, steps, start_step=0, known=None):
    """The loop as diffusers' pipelines for pictures and masks have it, with the scheduler itself."""
    chosen = SAMPLERS[sampler]
    scheduler = chosen.scheduler.from_config(config, **chosen.settings)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps[start_step * scheduler.order :]
    if known is None:
        latents = scheduler.init_noise_sigma * torch.randn(SHAPE, generator=seeded(0))
    else:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start_step * scheduler.order)
        latents = scheduler.add_noise(known.latents, known.noise, timesteps[:1])
    extra, asked = {"generator": seeded(2)} if chosen.draws_noise else {}, []
    for index, (t, prediction) in enumerate(zip(timesteps, predictions(len(timesteps)), strict=True)):
        asked.append((scheduler.scale_model_input(latents, t), t))
        latents = scheduler.step(prediction, t, latents, **extra).prev_sample
        if known is not None:
            kept = known.latents
            if index + 1 < len(timesteps):
                kept = scheduler.add_noise(kept, known.noise, timesteps[index + 1 : index + 2])
            latents = known.mask * latents + (1 - known.mask) * kept
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
def test_from_noise(sampler, prediction_type):
    for steps in (1, 2, 3, 17, 50):
        assert_same(sampler, SCHEDULER | {"prediction_type": prediction_type}, steps)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_from_a_picture_of_which_a_part_stays(sampler, prediction_type):
    clean, noise = torch.randn(2, *SHAPE, generator=seeded(3))
    known = Known(clean, noise, (torch.arange(5) < 3).float().expand(1, 1, 6, 5))
    for start_step in (0, 1, 5, 9):
        assert_same(sampler, SCHEDULER | {"prediction_type": prediction_type}, 10, start_step, known)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_with_other_spacings_of_the_timesteps(spacing):
    for sampler in SAMPLERS:
        assert_same(sampler, SCHEDULER | {"timestep_spacing": spacing}, 8)


def test_a_configuration_that_clips_predictions_does_not_clip_latents():
    for sampler in SAMPLERS:
        plain, clipping = (ours(sampler, SCHEDULER | {"clip_sample": clips}, 6)[1] for clips in (False, True))
        assert torch.equal(plain, clipping)


@pytest.mark.parametrize(
    ("sampler", "most"), [("ddim", 2), ("euler", 2), ("euler_a", 2), ("heun", 4), ("dpm++", 4), ("lms", 8)]
)
def test_only_what_is_needed_later_is_kept(sampler, most):
    assert SAMPLERS[sampler].solver(SCHEDULER, 30).memory == most
