"""Calls of a network recorded as CUDA graphs: one launch instead of the thousands that a UNet takes."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

KEPT = 64  # graphs; those used last
Network = Callable[..., Tensor]


class Graphs:
    """Calls ``network``, and from the second time on that shapes come, replays what was recorded for them.

    The CPU needs longer to launch the kernels of a small batch than the GPU to run them; a replay is one launch. Inputs are
    tensors on any device and are brought to ``device``; their dtypes must not change. For one thread at a time.
    """

    def __init__(self, network: Network, device: torch.device) -> None:
        self._network, self._device = network, device
        self._pool = torch.cuda.graph_pool_handle()  # graphs never run at the same time and share their memory
        self._met: set[tuple[torch.Size, ...]] = set()
        self._recorded: OrderedDict[tuple[torch.Size, ...], _Recorded] = OrderedDict()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Give the network's answer, which the next call overwrites."""
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
