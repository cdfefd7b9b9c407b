"""Variety: in its first steps a picture follows the prompt loosely, so that pictures of one prompt differ more."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from diffusion.request import MAX_VARIETY, ImageRequest
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.solver import Solver

LOOSE_SHARE: Final = 0.75  # of the network calls from noise to the image; the later ones settle details
STAGES: Final = 4  # at most, as each has conditions of its own in memory
EMBEDDINGS: Final = "_embeds"  # how the names of conditions end that say what the picture shows


def loose_stages(
    request: ImageRequest, solver: Solver, conditions: Conditions, generator: torch.Generator
) -> Iterator[tuple[int, Conditions]]:
    """Yield what an image of ``request`` follows, and from which of its network calls on.

    The first are for call 0, the last are its ``conditions`` themselves; between them, noise that ``generator`` draws once
    fades. A picture that starts late from another one begins where the noise has faded as far.
    """
    noises = {
        name: torch.randn(tensor.shape, generator=generator).to(tensor.device)
        for name, tensor in sorted(conditions.tensors.items())
        if name.endswith(EMBEDDINGS)
    }
    end = int(LOOSE_SHARE * solver.evaluations)
    count = min(STAGES, end)
    stages = [(stage * end // count, 1 - stage / count) for stage in range(count)]
    for (begin, share), (after, _) in pairwise([*stages, (end, 0)]):
        if after > solver.start:
            strength = share * request.variety / MAX_VARIETY
            yield max(0, begin - solver.start), _loosen(conditions, noises, strength)
    yield max(0, end - solver.start), conditions


def _loosen(conditions: Conditions, noises: Mapping[str, Tensor], strength: float) -> Conditions:
    """Mix the embeddings of ``conditions`` with ``noises``, by ``strength`` in [0, 1].

    c' = m + sqrt(1 - s) (c - m) + sqrt(s) d n, with the mean m and the deviation d of c, which the mixture keeps: Sadat et al.
    2024 (CADS), section 3.
    """
    mixed = {}
    for name, noise in noises.items():
        embeddings = conditions.tensors[name].float()
        deviation, mean = torch.std_mean(embeddings)
        loose = mean + (1 - strength) ** 0.5 * (embeddings - mean) + strength**0.5 * deviation * noise
        mixed[name] = loose.to(conditions.tensors[name].dtype)
    return conditions.with_tensors(mixed)
