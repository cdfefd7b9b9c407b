"""Network calls as CUDA graphs: one launch instead of a UNet's thousands."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

GRAPHS_KEPT = 64  # the most recently used ones
Network = Callable[..., Tensor]  # (latents, timesteps, **conditions) -> predictions
Shapes = tuple[tuple[str, torch.Size], ...]


class Graphs:
    """Calls ``network`` and replays a recorded graph for shapes that come again.

    The CPU needs longer to launch the kernels of a small batch than the GPU to run them; a replay is one launch. Inputs are
    tensors on any device and are brought to ``device``; their dtypes must not change. For one thread at a time.
    """

    def __init__(self, network: Network, device: torch.device) -> None:
        self._network = network
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()  # graphs never run at the same time and share their memory
        self._seen: set[Shapes] = set()
        self._recorded: OrderedDict[Shapes, _Recorded] = OrderedDict()

    def forget(self, name: str) -> None:
        """Drop the graphs with an input ``name``, because what they read has moved in memory."""
        for shapes in [shapes for shapes in self._recorded if name in dict(shapes)]:
            del self._recorded[shapes]

    def __call__(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Return the network's output, which the next call overwrites."""
        inputs = {"latents": latents, "timesteps": timesteps, **conditions}
        shapes = tuple((name, tensor.shape) for name, tensor in inputs.items())
        if shapes not in self._seen:  # the first call warms up, because the choice of algorithms cannot be recorded
            self._seen.add(shapes)
            return self._network(**{name: tensor.to(self._device) for name, tensor in inputs.items()})
        if shapes not in self._recorded:
            self._recorded[shapes] = _Recorded(self._network, inputs, self._device, self._pool)
            if len(self._recorded) > GRAPHS_KEPT:
                self._recorded.popitem(last=False)
        self._recorded.move_to_end(shapes)
        return self._recorded[shapes].replay(inputs)


class _Recorded:
    """One graph with the tensors that it reads and writes."""

    def __init__(self, network: Network, inputs: dict[str, Tensor], device: torch.device, pool: Any) -> None:
        self._inputs = {name: tensor.to(device, copy=True) for name, tensor in inputs.items()}
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile, for instance to load a model.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._output = network(**self._inputs)

    def replay(self, inputs: dict[str, Tensor]) -> Tensor:
        for name, tensor in inputs.items():
            self._inputs[name].copy_(tensor)
        self._graph.replay()
        return self._output
