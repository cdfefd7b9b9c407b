"""Branches: from some step on, an image follows another prompt."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.solver import Solver


@dataclass(frozen=True)
class Branch:
    """The conditions of a trajectory from its network call ``step_index`` on."""

    step_index: int
    conditions: Conditions


def branches_of(request: ImageRequest, solver: Solver, encode: Callable[[str], Conditions]) -> tuple[Branch, ...]:
    """Return the branches of ``request`` in order.

    ``encode`` turns a prompt into the rows of a network call.
    """
    return tuple(Branch(solver.first_call(step), encode(prompt)) for step, prompt in request.branches)


def followed_by(stages: Sequence[Branch], branches: Sequence[Branch]) -> tuple[Branch, ...]:
    """Return those of ``stages`` that begin before the first of ``branches``, and then these."""
    first = min((branch.step_index for branch in branches), default=sys.maxsize)
    return (*(stage for stage in stages if stage.step_index < first), *branches)
