"""Layers that add LoRAs to their outputs, with other LoRAs in each row of a call.

Each adapted layer keeps the columns of all loaded LoRAs: A (columns, inputs) and B (columns, outputs). A row of a call names
its columns and weights them: y += ((x A_row^T) * w_row) B_row. So rows with other LoRAs share a call, and each pays for its
own columns alone. For a row it is Hu et al. 2021 (LoRA), eq. 3.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]


@dataclass(frozen=True)
class RowColumns:
    """The LoRAs of the first rows of a call, or one row for all of them.

    - ``columns`` (rows, most columns of a row): where each row's LoRAs are in the layers.
    - ``weights``: their weights, 0 for columns that fill up a row.
    """

    columns: Tensor
    weights: Tensor
    are_of_all: bool = False


class Current(threading.local):
    """The LoRAs of the call that this thread makes; None: none.

    Another thread may call the same network meanwhile, to compile it.
    """

    columns: RowColumns | None = None

    @contextmanager
    def use(self, columns: RowColumns | None) -> Iterator[None]:
        """Add ``columns`` to the calls in this block."""
        before = self.columns
        self.columns = columns
        try:
            yield
        finally:
            self.columns = before


@dataclass(frozen=True)
class Home:
    """The device and dtype in which the layers of a network compute.

    To save memory, their weights may be kept on another device or in 8 bits.
    """

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, network: Any) -> "Home":
        """Return where ``network`` computes."""
        return cls(network.device, network.dtype)

    def dtype_of(self, weight: Tensor) -> torch.dtype:
        """Return the dtype in which a layer with ``weight`` computes."""
        return self.dtype if weight.dtype.itemsize == 1 else weight.dtype


class AdaptedLayer:
    """A hook that adds LoRAs to the outputs of ``module``, a linear layer or a convolution that computes at ``home``.

    ``down`` is (capacity, inputs), ``up`` (capacity, outputs).
    """

    def __init__(self, module: nn.Module, home: Home, current: Current, capacity: int) -> None:
        weight: Any = module.weight
        outputs, *inputs = weight_shape(module)
        self._current = current
        self.down = torch.zeros(capacity, math.prod(inputs), device=home.device, dtype=home.dtype_of(weight))
        self.up = self.down.new_zeros(capacity, outputs)
        self._handle = module.register_forward_hook(self)

    @property
    def bytes(self) -> int:
        """The memory of its columns."""
        return self.down.nbytes + self.up.nbytes

    def write(self, columns: Tensor, down: Tensor, up: Tensor) -> None:
        """Fill ``columns`` with a LoRA of at most as many; the rest become zero."""
        for stored, values in ((self.down, down), (self.up, up)):
            stored[columns.to(stored.device)] = F.pad(values, (0, 0, 0, len(columns) - len(values))).to(stored)

    def clear(self, columns: Tensor) -> None:
        """Fill ``columns`` with zeros."""
        for stored in (self.down, self.up):
            stored[columns.to(stored.device)] = 0

    def grow(self, capacity: int) -> None:
        """Make room for ``capacity`` columns."""
        more = max(0, capacity - len(self.down))
        self.down = torch.cat([self.down, self.down.new_zeros(more, self.down.shape[1])])
        self.up = torch.cat([self.up, self.up.new_zeros(more, self.up.shape[1])])

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Add the LoRAs of the present call to ``output``."""
        if torch.compiler.is_compiling() or (current := self._current.columns) is None:
            return
        columns, read = current.columns.to(self.down.device), inputs[0]
        if current.are_of_all:
            columns = columns.expand(len(read), -1)
        read, changed = read[: len(columns)], output[: len(columns)]
        down = F.embedding(columns, self.down)
        up = F.embedding(columns, self.up)
        weights = current.weights.to(read)[..., None]
        if isinstance(module, nn.Conv2d):
            hidden = _convolve(module, read, down).flatten(2) * weights
            _add_product(changed.flatten(2), up.mT, hidden, changed)
        else:
            hidden = torch.bmm(read.reshape(len(read), -1, read.shape[-1]), down.mT) * weights.mT
            _add_product(changed.reshape(len(read), -1, changed.shape[-1]), hidden, up, changed)

    def remove(self) -> None:
        """Leave the layer as it was."""
        self._handle.remove()

    def __deepcopy__(self, _: Any) -> "Hook":
        return _unchanged  # copies are converted for other backends, which draw without LoRAs


def _unchanged(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """Leave the output of a copied layer as it is."""


def _add_product(flat: Tensor, left: Tensor, right: Tensor, output: Tensor) -> None:
    """Add ``left`` x ``right`` to ``output``, of which ``flat`` is a view, or a copy where its layout has none."""
    flat.baddbmm_(left, right)
    if flat.data_ptr() != output.data_ptr():
        output.copy_(flat.view_as(output))


def _convolve(module: nn.Conv2d, read: Tensor, down: Tensor) -> Tensor:
    """Convolve each row of ``read`` (rows, inputs, h, w) with its own kernels ``down`` (rows, columns, inputs and cells)."""
    rows, columns, _ = down.shape
    if module.kernel_size == (1, 1) and module.stride == (1, 1) and module.padding in ((0, 0), "valid"):
        return torch.bmm(down, read.flatten(2)).view(rows, columns, *read.shape[2:])
    kernels = down.view(rows * columns, read.shape[1], *module.kernel_size)
    stacked = read.reshape(1, rows * read.shape[1], *read.shape[2:])
    hidden = F.conv2d(stacked, kernels, None, module.stride, module.padding, module.dilation, rows)
    return hidden.view(rows, columns, *hidden.shape[2:])


def is_adaptable(module: nn.Module) -> bool:
    """Whether a LoRA may change ``module``."""
    return isinstance(module, nn.Linear) or (
        isinstance(module, nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros"
    )


def weight_shape(module: nn.Module) -> tuple[int, ...]:
    """Return the shape of the weight of ``module``, outputs first, also of one that is packed into fewer bytes."""
    weight: Any = module.weight
    return tuple(getattr(weight, "quant_shape", weight.shape))


def bytes_per_column(module: nn.Module, home: Home) -> int:
    """Return the memory of one column of LoRAs in ``module``, which computes at ``home``."""
    weight: Any = module.weight
    outputs, *inputs = weight_shape(module)
    return (math.prod(inputs) + outputs) * home.dtype_of(weight).itemsize
