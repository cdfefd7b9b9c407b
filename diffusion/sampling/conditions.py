"""The inputs of a denoising network besides latents and timesteps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffusion.sampling.slerp import slerp


@dataclass(frozen=True)
class Conditions:
    """Tensors by name, each with one row per row of the network call: (rows, ...).

    A family chooses the names: they are the keyword arguments of its `predict`. Where guidance is used, the unconditional
    row comes before the conditional one.
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, rows: slice) -> "Conditions":
        return Conditions({name: tensor[rows] for name, tensor in self.tensors.items()})

    @classmethod
    def stack(cls, parts: Sequence["Conditions"]) -> "Conditions":
        """Join the rows of ``parts``.

        Tensors that are shorter in dimension 1 get zeros at its end.
        """
        return cls({name: _cat([part.tensors[name] for part in parts]) for name in parts[0].tensors})

    def slerp(self, end: "Conditions", weight: float) -> "Conditions":
        """Interpolate a share ``weight`` in [0, 1] of the way to ``end``.

        ``end`` has the same names and shapes.
        """
        return Conditions({name: slerp(start, end.tensors[name], weight) for name, start in self.tensors.items()})


def _cat(tensors: list[Tensor]) -> Tensor:
    if tensors[0].ndim > 1 and len({tensor.shape[1] for tensor in tensors}) > 1:
        longest = max(tensor.shape[1] for tensor in tensors)
        tensors = [_lengthen(tensor, longest) for tensor in tensors]
    return torch.cat(tensors)


def _lengthen(tensor: Tensor, length: int) -> Tensor:
    later_dimensions: Iterable[int] = (0, 0) * (tensor.ndim - 2)
    return pad(tensor, (*later_dimensions, 0, length - tensor.shape[1]))
