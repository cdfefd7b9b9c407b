"""A sampler as numbers: what its steps add up, read off diffusers' scheduler once and shared by all pictures.

A scheduler's step computes a few numbers from noise levels, with up to thousands of operations on single elements, and adds up
a handful of tensors by them. All samplers here are linear in latents, predictions and noise, so that those numbers are the same
for all pictures: only the adding up is left to do for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

PROBE_NOISE_DIMS = 16  # entries beyond the unit vectors, where nothing but drawn noise shows
PROBE_SCALE = 2.0**20  # their length, so large that noise hardly rounds what is read beside it
WEIGHT_EPS = 1e-8  # smaller weights are dropped, and with them a past that is hardly felt any more


@dataclass(frozen=True)
class Step:
    """The network sees ``scale`` times the latents at ``timestep``; then the weighted sum of what was so far comes next.

    ``weights`` are of the latents and of the prediction at this step, of those at the step before, and so on; ``noise`` is
    that of fresh unit noise.
    """

    timestep: Tensor
    scale: float
    weights: tuple[float, ...]
    noise: float

    def combine(self, past: Sequence[Tensor]) -> Tensor:
        """Give the next latents, but for the noise. ``past`` holds latents and predictions in the order of the weights."""
        total = past[0] * self.weights[0]
        for tensor, weight in zip(past[1:], self.weights[1:], strict=False):
            if weight:
                total.add_(tensor, alpha=weight)
        return total


@dataclass(frozen=True)
class Solver:
    """What is left of a sampler's ``evaluations`` of the network after the first ``start`` of them.

    At step i, counted from there, clean latents and unit noise are mixed by ``levels[i]``, after the last by (1, 0); pure noise
    starts as ``init_noise_sigma`` times unit noise. ``order`` is that of the scheduler: evaluations a step.
    """

    steps: tuple[Step, ...]
    levels: tuple[tuple[float, float], ...]
    init_noise_sigma: float
    order: int
    start: int

    @property
    def evaluations(self) -> int:
        """How many evaluations the sampler makes from noise to the picture."""
        return self.start + len(self.steps)

    @cached_property
    def memory(self) -> int:
        """How many latents and predictions the steps go back to."""
        return max(len(step.weights) for step in self.steps)

    def add_noise(self, latents: Tensor, noise: Tensor, step: int) -> Tensor:
        """Bring clean ``latents`` to the noise level of step ``step``."""
        signal, spread = self.levels[step]
        return signal * latents + spread * noise


@torch.inference_mode()
def linearize(scheduler: Any, start_step: int = 0, draws_noise: bool = False) -> Solver:
    """Read what ``scheduler``, whose timesteps are set, does from step ``start_step`` on (second-order ones list each twice).

    Each step is taken with a unit vector for its latents and another for its prediction: what comes out are the weights of all
    so far. It must neither clip nor threshold, which is not linear. ``draws_noise`` says whether its steps want a generator.
    """
    start = start_step * scheduler.order
    timesteps = scheduler.timesteps[start:]
    count = len(timesteps)
    clean, noise = torch.eye(2).expand(count, 2, 2).unbind(1)
    levels = [(signal, spread) for signal, spread in scheduler.add_noise(clean, noise, timesteps).tolist()]
    if start and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
    units = PROBE_SCALE * torch.eye(2 * count, 2 * count + PROBE_NOISE_DIMS)[:, None]
    generator, same = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    extra = {"generator": generator} if draws_noise else {}
    steps = []
    for index, t in enumerate(timesteps):
        scale = scheduler.scale_model_input(torch.ones(1), t).item()
        result = scheduler.step(units[2 * index + 1], t, units[2 * index], **extra).prev_sample[0]
        share = 0.0
        if draws_noise:
            drawn = torch.randn(units[0].shape, generator=same)[0]
            share = (result[-PROBE_NOISE_DIMS:] @ drawn[-PROBE_NOISE_DIMS:] / drawn[-PROBE_NOISE_DIMS:].square().sum()).item()
            result = result - share * drawn
        weights = result[: 2 * index + 2].view(-1, 2).flip(0).flatten() / PROBE_SCALE
        weights[weights.abs() < WEIGHT_EPS] = 0
        used = int(weights.nonzero().max()) + 1
        steps.append(Step(t, scale, tuple(weights[:used].tolist()), share))
    return Solver(tuple(steps), (*levels, (1.0, 0.0)), float(scheduler.init_noise_sigma), scheduler.order, start)
