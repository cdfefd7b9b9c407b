"""The weights of a sampler's steps, read from its scheduler and shared by images.

A scheduler's step computes a few weights from noise levels, which takes up to thousands of operations on single elements, and
sums a handful of tensors with them. Every sampler here is linear in latents, predictions and noise, so the weights are the same
for all images.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

PROBE_NOISE_DIMS = 16  # entries beyond the unit vectors: they show the drawn noise alone
PROBE_SCALE = 2.0**20  # length of the unit vectors: noise hardly rounds weights that are read beside it
REPLAY_STEPS = 12  # of the scheduler that check its weights: its memory is far shorter
REPLAY_DIMS = 8  # entries of the latents that are replayed
REPLAY_TOLERANCE = 1e-3  # of the largest term of a step; wrong weights miss by tens of percents
WEIGHT_EPS = 1e-8  # smaller weights are dropped, and with them latents and predictions that hardly count any more


class NotLinearError(ValueError):
    """A scheduler whose steps are no weighted sums with finite weights."""

    def __init__(self) -> None:
        super().__init__("the steps of its scheduler are no weighted sums of latents, predictions and noise")


@dataclass(frozen=True)
class Step:
    """One network call and the weighted sum that follows it.

    The network sees ``scale`` times the latents at ``timestep``. ``weights`` are those of the latents and the prediction at
    this step, then of those at the step before, and so on; ``noise`` is the weight of fresh unit noise.
    """

    timestep: Tensor
    scale: float
    weights: tuple[float, ...]
    noise: float

    def combine(self, past: Sequence[Tensor]) -> Tensor:
        """Return the next latents without their noise.

        ``past`` is in the order of the weights.
        """
        total = past[0] * self.weights[0]
        for tensor, weight in zip(past[1:], self.weights[1:], strict=False):
            if weight:
                total.add_(tensor, alpha=weight)
        return total


@dataclass(frozen=True)
class Solver:
    """The steps of a sampler from its network call ``start`` on.

    ``levels[i]`` are the weights of clean latents and unit noise at step i, counted from there; after the last they are (1, 0).
    Pure noise starts as ``init_noise_sigma`` times unit noise. ``order`` is the number of network calls per step of a request;
    where a sampler ``warms_up``, its second step takes one more.
    """

    steps: tuple[Step, ...]
    levels: tuple[tuple[float, float], ...]
    init_noise_sigma: float
    order: int
    start: int
    warms_up: bool = False

    @property
    def evaluations(self) -> int:
        """How many network calls the sampler makes from noise to the image."""
        return self.start + len(self.steps)

    def first_call(self, step: int) -> int:
        """Return the index in `steps` of the first network call of ``step`` of a request."""
        call = step * self.order - self.start
        return call + 1 if self.warms_up and call > 1 else call

    @cached_property
    def memory(self) -> int:
        """How many past latents and predictions the steps use."""
        return max(len(step.weights) for step in self.steps)

    def add_noise(self, latents: Tensor, noise: Tensor, step: int) -> Tensor:
        """Noise clean ``latents`` to the level of step ``step``."""
        signal, spread = self.levels[step]
        return signal * latents + spread * noise


@torch.inference_mode()
def linearize(scheduler: Any, start_step: int = 0, draws_noise: bool = False, *, warms_up: bool = False) -> Solver:
    """Read the weights of ``scheduler`` from step ``start_step`` on.

    Its timesteps must be set. Each step gets one unit vector as its latents and another as its prediction, so its result shows
    the weights of all so far. ``draws_noise`` says whether its steps take a generator, ``warms_up`` whether its second step
    comes twice. Raises `NotLinearError` for a scheduler whose steps are no finite weighted sums, such as one that clips.
    """
    start = start_step * scheduler.order
    timesteps = scheduler.timesteps[start:]
    count = len(timesteps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)  # timesteps that repeat do not tell the scheduler its place
    unread = copy.deepcopy(scheduler)
    clean, noise = torch.eye(2).split(1)
    units = PROBE_SCALE * torch.eye(2 * count, 2 * count + PROBE_NOISE_DIMS)[:, None]
    generator = torch.Generator().manual_seed(0)
    same_generator = torch.Generator().manual_seed(0)
    extra = {"generator": generator} if draws_noise else {}
    steps = []
    levels = []
    for index, t in enumerate(timesteps):
        signal, spread = scheduler.add_noise(clean, noise, t[None])[0].tolist()
        levels.append((signal, spread))
        scale = scheduler.scale_model_input(torch.ones(1), t).item()
        result = scheduler.step(units[2 * index + 1], t, units[2 * index], **extra).prev_sample[0]
        share = 0.0
        if draws_noise:
            drawn = torch.randn(units[0].shape, generator=same_generator)[0]
            share = (result[-PROBE_NOISE_DIMS:] @ drawn[-PROBE_NOISE_DIMS:] / drawn[-PROBE_NOISE_DIMS:].square().sum()).item()
            result = result - share * drawn
        weights = result[: 2 * index + 2].view(-1, 2).flip(0).flatten() / PROBE_SCALE
        weights[weights.abs() < WEIGHT_EPS] = 0
        if not weights.isfinite().all() or not weights.any():
            raise NotLinearError
        used = int(weights.nonzero().max()) + 1
        steps.append(Step(t, scale, tuple(weights[:used].tolist()), share))
    sigma = float(scheduler.init_noise_sigma)
    solver = Solver(tuple(steps), (*levels, (1.0, 0.0)), sigma, scheduler.order, start, warms_up)
    _assert_represents(solver, unread, draws_noise)
    return solver


def _assert_represents(solver: Solver, scheduler: Any, draws_noise: bool) -> None:
    """Replay the first steps of ``scheduler`` with random predictions.

    Raises `NotLinearError` where ``solver`` leads to other latents.
    """
    generator = torch.Generator().manual_seed(1)
    theirs = torch.Generator().manual_seed(2)
    ours = torch.Generator().manual_seed(2)
    extra = {"generator": theirs} if draws_noise else {}
    latents = solver.init_noise_sigma * torch.randn(1, REPLAY_DIMS, generator=generator)
    past: list[Tensor] = []
    for step in solver.steps[:REPLAY_STEPS]:
        prediction = torch.randn(1, REPLAY_DIMS, generator=generator)
        past = [latents, prediction, *past]
        expected = step.combine(past)
        if step.noise:  # as the loop does, which draws no noise that a step does not use
            expected.add_(torch.randn(latents.shape, generator=ours), alpha=step.noise)
        scheduler.scale_model_input(latents, step.timestep)
        latents = scheduler.step(prediction, step.timestep, latents, **extra).prev_sample
        terms = [abs(weight) * tensor.abs().max().item() for weight, tensor in zip(step.weights, past, strict=False)]
        if not (expected - latents).abs().max() <= REPLAY_TOLERANCE * max(*terms, step.noise):
            raise NotLinearError
