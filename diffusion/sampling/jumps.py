"""The jumps of a student along the noise levels of its teacher's sampler."""

from collections.abc import Sequence
from itertools import pairwise

from diffusion.sampling.solver import Solver, Step


def jump_weights(start: Sequence[float], end: Sequence[float]) -> tuple[float, float]:
    """Return the weights of x_t and of the velocity whose sum is x_s.

    ``start`` and ``end`` are (alpha, sigma) at t and at s, with alpha^2 + sigma^2 = 1. It is DDIM's step (Song et al. 2021,
    eq. 12) for v = alpha_t eps - sigma_t x_0 (Salimans & Ho 2022, section 4).
    """
    alpha_t, sigma_t = start
    alpha_s, sigma_s = end
    return alpha_s * alpha_t + sigma_s * sigma_t, sigma_s * alpha_t - alpha_s * sigma_t


def jump_solver(teacher: Solver, states: Sequence[int]) -> Solver:
    """Return the steps from each of the ``states`` of ``teacher`` to the next, and from the last to clean latents.

    ``teacher`` is a solver from noise on, for a network that predicts the velocity.
    """
    scales = [step.scale for step in teacher.steps]
    levels = [(scales[state] * teacher.levels[state][0], scales[state] * teacher.levels[state][1]) for state in states]
    levels.append((1.0, 0.0))
    jumps = (jump_weights(start, end) for start, end in pairwise(levels))
    steps = tuple(Step(teacher.steps[state].timestep, 1.0, weights, 0.0) for state, weights in zip(states, jumps, strict=True))
    return Solver(steps, tuple(levels), scales[0] * teacher.init_noise_sigma, order=1, start=0)
