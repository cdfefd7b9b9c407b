"""Spherical interpolation between two noises or two encoded prompts."""

import torch
from torch import Tensor


def slerp(start: Tensor, end: Tensor, weight: float) -> Tensor:
    """Interpolate from ``start`` to ``end`` along their arc, by ``weight`` in [0, 1].

    Shoemake 1985. On a straight line noise loses variance, and the pictures come out grey. Tensors of the same direction have
    no arc: between them the line is straight.
    """
    cosine = torch.sum(start * end) / (start.norm() * end.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    if torch.sin(angle) < 1e-4:
        return torch.lerp(start, end, weight)
    return (torch.sin((1 - weight) * angle) * start + torch.sin(weight * angle) * end) / torch.sin(angle)
