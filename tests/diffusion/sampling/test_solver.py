"""What is read off a scheduler does what the scheduler does."""

import math

import pytest
import torch
from diffusers import KDPM2AncestralDiscreteScheduler, SASolverScheduler

from diffusion.errors import InvalidRequestError
from diffusion.loading.random_weights import TINY_SCHEDULER
from diffusion.sampling.denoise import InpaintContext, denoise
from diffusion.sampling.samplers import FLOW_SAMPLERS, SAMPLERS, linear_config, set_timesteps
from diffusion.sampling.solver import NotLinearError, linearize
from tests.support.samplers import KINDS_OF_STEPS

SHAPE = (1, 4, 6, 5)
TOLERANCE = 5e-5  # of the largest latents; float32, over 50 steps

ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
CONFIGS = {  # what models' scheduler_config.json add
    "zero terminal SNR": ZERO_SNR,
    "zero terminal SNR, leading": ZERO_SNR | {"timestep_spacing": "leading"},
    "zero terminal SNR, Karras": ZERO_SNR | {"use_karras_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "Karras": {"use_karras_sigmas": True},
    "last sigma": {"final_sigmas_type": "sigma_min"},
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def predictions(count):
    return torch.randn(count, *SHAPE, generator=seeded(1))


ALL = {**SAMPLERS, **FLOW_SAMPLERS}


def ours(sampler, config, steps, start_step=0, inpaint=None):
    solver = ALL[sampler].solver(config, steps, start_step)
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
    chosen = ALL[sampler]
    scheduler = chosen.scheduler.from_config(config, **chosen.settings)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps[start_step * scheduler.order :]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start_step * scheduler.order)
    if inpaint is None:
        latents = scheduler.init_noise_sigma * torch.randn(SHAPE, generator=seeded(0))
    else:
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
    for steps in (1, 2, 3, 17):
        assert_same(sampler, TINY_SCHEDULER | {"prediction_type": prediction_type}, steps)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_linearize_equals_the_scheduler_when_inpainting(sampler, prediction_type):
    clean, noise = torch.randn(2, *SHAPE, generator=seeded(3))
    inpaint = InpaintContext(clean, noise, (torch.arange(5) < 3).float().expand(1, 1, 6, 5))
    for start_step in (0,) if SAMPLERS[sampler].warms_up else (0, 1, 5, 9):  # diffusers' PNDM warms up at the start only
        assert_same(sampler, TINY_SCHEDULER | {"prediction_type": prediction_type}, 10, start_step, inpaint)


@pytest.mark.parametrize("added", [{}, {"shift": 3.0}, {"shift": 3.0, "use_karras_sigmas": True}], ids=str)
@pytest.mark.parametrize("sampler", FLOW_SAMPLERS)
def test_linearize_equals_the_scheduler_of_flow_matching(sampler, added):
    clean, noise = torch.randn(2, *SHAPE, generator=seeded(3))
    inpaint = InpaintContext(clean, noise, (torch.arange(5) < 3).float().expand(1, 1, 6, 5))
    config = {"num_train_timesteps": 1000} | added
    for steps in (1, 2, 9):
        assert_same(sampler, config, steps)
    assert_same(sampler, config, 9, 4, inpaint)


@pytest.mark.parametrize("start_step", [0, 1, 4, 8])
@pytest.mark.parametrize("sampler", ALL)
def test_solver_ends_at_the_picture_that_the_network_sees(sampler, start_step):
    """The network always answers with what leads to the same picture, so only wrong noise levels can miss it."""
    clean, noise = torch.randn(2, *SHAPE, generator=seeded(3))
    solver = ALL[sampler].solver({} if sampler in FLOW_SAMPLERS else TINY_SCHEDULER, 9, start_step)
    going = denoise(solver.add_noise(clean, noise, 0), solver, seeded(2))
    sample, _ = next(going)
    with pytest.raises(StopIteration) as finished:
        for (signal, spread), step in zip(solver.levels, solver.steps, strict=False):
            error = (sample / step.scale - signal * clean) / spread  # the noise in the latents
            sample, _ = going.send(error - clean if sampler in FLOW_SAMPLERS else error)
    assert (finished.value.value - clean).abs().max() <= 0.2 * clean.abs().max()


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


@pytest.mark.parametrize("added", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("sampler", KINDS_OF_STEPS)
def test_linearize_equals_the_scheduler_for_each_configuration(sampler, added):
    config = linear_config(TINY_SCHEDULER | added, SAMPLERS[sampler].settings)
    # LMS integrates, which takes long. In few steps from a sigma of 4096 rounding weighs more than what is compared.
    for steps in (6,) if sampler == "lms" else (11,):
        assert_same(sampler, config, steps)
    if sampler != "lms":
        clean, noise = torch.randn(2, *SHAPE, generator=seeded(3))
        inpaint = InpaintContext(clean, noise, (torch.arange(5) < 3).float().expand(1, 1, 6, 5))
        assert_same(sampler, config, 11, 0 if SAMPLERS[sampler].warms_up else 4, inpaint)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace", None])
@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"lms", "lcm", "tcd"}))
def test_schedule_takes_each_training_step_once_at_most(sampler, spacing):
    config = TINY_SCHEDULER | ({"timestep_spacing": spacing} if spacing else {})
    scheduler = SAMPLERS[sampler].schedule(config, 1000)
    assert scheduler.timesteps[0] == 999
    if "karras" not in sampler and sampler not in ("dpm++", "dpm++_sde"):  # their noise levels are spaced otherwise
        assert scheduler.timesteps[-1] == 0
    with pytest.raises(InvalidRequestError, match="The steps may be at most 1000 here, not 1001"):
        SAMPLERS[sampler].schedule(config, 1001)


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpm++", "unipc"])
@pytest.mark.parametrize("added", [{}, {"timestep_spacing": "leading"}, ZERO_SNR, {"use_beta_sigmas": True}])
def test_solver_draws_a_thousand_steps(monkeypatch, sampler, added):
    few = 40  # the last ones, as reading all takes a second
    solver = SAMPLERS[sampler].solver(TINY_SCHEDULER | added, 1000, 1000 - few)
    assert len(solver.steps) == few
    assert all(math.isfinite(weight) for step in solver.steps for weight in step.weights)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_lms_draws_a_thousand_steps(spacing):
    config = TINY_SCHEDULER | {"timestep_spacing": spacing, "steps_offset": 1}
    solver = SAMPLERS["lms"].solver(config, 1000, 996)
    assert len(solver.steps) == 4
    assert all(math.isfinite(weight) for step in solver.steps for weight in step.weights)


@pytest.mark.parametrize("added", [{}, {"use_karras_sigmas": True}, {"use_beta_sigmas": True}, {"use_lu_lambdas": True}])
def test_schedule_clears_rivals_of_the_samplers_spacing(added):
    rivals = {"use_exponential_sigmas": True}
    scheduler = SAMPLERS["dpm++"].schedule(TINY_SCHEDULER | added | rivals, 7)
    plain = SAMPLERS["dpm++"].schedule(TINY_SCHEDULER, 7)
    assert torch.equal(scheduler.sigmas, plain.sigmas)
    for sampler in SAMPLERS:
        SAMPLERS[sampler].schedule(TINY_SCHEDULER | added | rivals, 7)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (KDPM2AncestralDiscreteScheduler, {}),
        (SASolverScheduler, {}),
        (SAMPLERS["ddim"].scheduler, {"clip_sample": True, "clip_sample_range": 0.1}),
    ],
)
def test_linearize_refuses_a_scheduler_that_weights_cannot_represent(kind, settings):
    scheduler = kind.from_config(TINY_SCHEDULER, **settings)
    set_timesteps(scheduler, 8)
    with pytest.raises(NotLinearError):
        linearize(scheduler, 0, kind in (KDPM2AncestralDiscreteScheduler, SASolverScheduler))
