"""The inputs of a denoising network besides latents and timesteps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffusion.sampling.slerp import slerp

PICTURE_DIMENSIONS: Final = 4


@dataclass(frozen=True)
class Conditions:
    """Tensors by name, each with one row per row of the network call: (rows, ...).

    A family chooses the names: they are the keyword arguments of its `predict`. Where guidance is used, the unconditional
    row comes before the conditional one. ``repeatable`` are the names of sequences that mean the same when they are repeated,
    as those of which attention takes a weighted mean.
    """

    tensors: Mapping[str, Tensor]
    repeatable: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, rows: slice) -> "Conditions":
        return Conditions({name: tensor[rows] for name, tensor in self.tensors.items()}, self.repeatable)

    @classmethod
    def stack(cls, parts: Sequence["Conditions"]) -> "Conditions":
        """Join the rows of ``parts``.

        Tensors that are shorter in dimension 1 get zeros at its end, or are repeated to a common length if they are repeatable.
        Parts without a tensor that others have get zeros in its place. Raises `ValueError` where that is a picture, (rows,
        channels, h, w), which no zeros can stand for.
        """
        likes = {name: tensor for part in parts for name, tensor in part.tensors.items()}
        repeatable = frozenset().union(*(part.repeatable for part in parts))
        tensors = {
            name: _cat([part._tensor(name, like) for part in parts], repeats=name in repeatable) for name, like in likes.items()
        }
        return cls(tensors, repeatable)

    def _tensor(self, name: str, like: Tensor) -> Tensor:
        """Return the tensor ``name``, or zeros for these rows that are ``like`` it."""
        tensor = self.tensors.get(name)
        if tensor is None and like.ndim == PICTURE_DIMENSIONS:
            raise ValueError(f"some rows have {name} and others have none")
        return like.new_zeros(len(self), *like.shape[1:]) if tensor is None else tensor

    def to(self, device: torch.device) -> "Conditions":
        """Return them on ``device``."""
        if all(tensor.device == device for tensor in self.tensors.values()):
            return self
        return Conditions({name: tensor.to(device) for name, tensor in self.tensors.items()}, self.repeatable)

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Conditions":
        """Return a copy with more ``tensors`` of as many rows."""
        return Conditions({**self.tensors, **tensors}, self.repeatable)

    def slerp(self, end: "Conditions", weight: float) -> "Conditions":
        """Interpolate a share ``weight`` in [0, 1] of the way to ``end``.

        ``end`` has the same names and shapes.
        """
        tensors = {name: slerp(start, end.tensors[name], weight) for name, start in self.tensors.items()}
        return Conditions(tensors, self.repeatable)


def _cat(tensors: list[Tensor], repeats: bool) -> Tensor:
    if tensors[0].ndim > 1 and len({tensor.shape[1] for tensor in tensors}) > 1:
        if repeats:
            common = math.lcm(*(tensor.shape[1] for tensor in tensors))
            return torch.cat([torch.cat([tensor] * (common // tensor.shape[1]), 1) for tensor in tensors])
        longest = max(tensor.shape[1] for tensor in tensors)
        tensors = [_lengthen(tensor, longest) for tensor in tensors]
    return torch.cat(tensors)


def _lengthen(tensor: Tensor, length: int) -> Tensor:
    later_dimensions: Iterable[int] = (0, 0) * (tensor.ndim - 2)
    return pad(tensor, (*later_dimensions, 0, length - tensor.shape[1]))
