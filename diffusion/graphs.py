"""Calls of a network recorded as CUDA graphs: one launch instead of the thousands that a UNet takes."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

KEPT = 64  # graphs; those used last
Network = Callable[..., Tensor]


def bucket(rows: int) -> int:
    """Give how many rows a call of ``rows`` is filled up to: as many up to 8, then in steps of 2 up to 16, of 4 up to 32 ...

    Batches come in all sizes, and each would be recorded anew. At most a fifth of the rows are idle.
    """
    stride = max(1, 2 ** ((rows - 1).bit_length() - 3))
    return -(-rows // stride) * stride


class Graphs:
    """Calls ``network``, and from the second time on that shapes come, replays what was recorded for them.

    The CPU needs longer to launch the kernels of a small batch than the GPU to run them; a replay is one launch. Inputs are
    tensors of as many rows each, on any device, and are brought to ``device``; their dtypes must not change. Calls are filled
    up to a `bucket` of rows. For one thread at a time.
    """

    def __init__(self, network: Network, device: torch.device) -> None:
        self._network, self._device = network, device
        self._pool = torch.cuda.graph_pool_handle()  # graphs never run at the same time and share their memory
        self._met: set[tuple[torch.Size, ...]] = set()
        self._recorded: OrderedDict[tuple[torch.Size, ...], _Recorded] = OrderedDict()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Give the network's answer, which the next call overwrites."""
        rows = len(inputs[0])
        return self._answer(*(_filled_up(tensor, bucket(rows)) for tensor in inputs))[:rows]

    def _answer(self, *inputs: Tensor) -> Tensor:
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._met:  # the call itself warms up what may not be recorded, such as the choice of algorithms
            self._met.add(shapes)
            return self._network(*(tensor.to(self._device) for tensor in inputs))
        if shapes not in self._recorded:
            self._recorded[shapes] = _Recorded(self._network, inputs, self._device, self._pool)
            if len(self._recorded) > KEPT:
                self._recorded.popitem(last=False)
        self._recorded.move_to_end(shapes)
        return self._recorded[shapes].replay(inputs)


def _filled_up(tensor: Tensor, rows: int) -> Tensor:
    """Repeat the first row of ``tensor`` after the others until there are ``rows``."""
    missing = rows - len(tensor)
    return torch.cat([tensor, tensor[:1].expand(missing, *tensor.shape[1:])]) if missing else tensor


class _Recorded:
    """One graph with the tensors that it reads and writes."""

    def __init__(self, network: Network, inputs: tuple[Tensor, ...], device: torch.device, pool: Any) -> None:
        self._inputs = [tensor.to(device, copy=True) for tensor in inputs]
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile: they load a model, for instance.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._output = network(*self._inputs)

    def replay(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for recorded, given in zip(self._inputs, inputs, strict=True):
            recorded.copy_(given)
        self._graph.replay()
        return self._output
