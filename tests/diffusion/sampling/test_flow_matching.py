"""Schedules of flow matching whose noise levels depend on the size of a picture."""

import math

import pytest
import torch

from diffusion.sampling.flow_matching import FlowEuler, FlowHeun, flow_schedule, shift_of_size
from diffusion.sampling.solver import linearize

DYNAMIC = {"use_dynamic_shifting": True}


def follow_exponential(kind, steps):
    """Integrate dx/dsigma = x from 1 at full noise; 1 / e is exact."""
    latents = torch.ones(1)
    past = []
    for step in linearize(flow_schedule(kind, DYNAMIC, steps, 1.15)).steps:
        past = [latents, latents, *past]
        latents = step.combine(past)
    return latents.item()


def test_heun_is_more_exact_than_euler_with_as_many_calls():
    errors = [abs(follow_exponential(kind, steps) - math.exp(-1)) for kind, steps in ((FlowHeun, 10), (FlowEuler, 19))]
    assert errors[0] < errors[1]


def test_heun_takes_the_noise_levels_of_euler():
    euler, heun = (linearize(flow_schedule(kind, DYNAMIC, 6, 0.8)) for kind in (FlowEuler, FlowHeun))
    assert heun.evaluations == 11
    assert heun.levels[:1] + heun.levels[1:-1:2] + heun.levels[-1:] == euler.levels


@pytest.mark.parametrize(("tokens", "mu"), [(256, 0.5), (4096, 1.15), (2176, 0.825)])
def test_shift_of_size_is_linear_between_two_sizes(tokens, mu):
    assert shift_of_size({}, tokens) == pytest.approx(mu)


def test_flow_schedule_ignores_the_size_where_the_model_has_one_shift():
    small, large = (flow_schedule(FlowEuler, {"shift": 1.0}, 4, mu).sigmas for mu in (0.5, 1.15))
    assert small.tolist() == large.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
