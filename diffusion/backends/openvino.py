"""Networks by OpenVINO, which is faster than torch on most CPUs."""

import importlib.util
import threading
import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from diffusion.backends.row_counts import filled_up

PRECISIONS: Final = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
MAX_STREAMS: Final = 2
KEPT_KERNELS: Final = 2000  # in each network: about 60 for a UNet, a size and a number of rows


def is_installed() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def convert(module: nn.Module, example: Sequence[Tensor]) -> Any:
    """Convert ``module``, whose weights are in float32, to a network of OpenVINO.

    ``example`` are the tensors of a call. The network takes any number of rows, and a first input with any last two sides.
    """
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    inputs = tuple(tensor.float() if tensor.is_floating_point() else tensor for tensor in example)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the decoder uses tracing, which torch calls deprecated
        decoder = TorchScriptPythonDecoder(module, example_input=inputs)
    # `openvino.convert_model` does the same, and reports to its makers that it was used.
    frontend = FrontEndManager().load_by_framework("pytorch")
    converted = frontend.convert(frontend.load(decoder))
    shapes = ([-1, inputs[0].shape[1], -1, -1], *([-1, *tensor.shape[1:]] for tensor in inputs[1:]))
    converted.reshape({given: PartialShape(shape) for given, shape in zip(converted.inputs, shapes, strict=True)})
    return converted


def compile_converted(converted: Any, dtype: torch.dtype) -> Any:
    """Compile a ``converted`` network for this CPU; it computes in ``dtype``."""
    import openvino

    return openvino.Core().compile_model(converted, "CPU", _settings(dtype, 1))


def import_compiled(exported: "np.ndarray[Any, Any]", dtype: torch.dtype, streams: int = 1) -> "OpenVino":
    """Return the compiled network that was ``exported``, with ``streams`` that compute side by side."""
    import openvino

    content = openvino.Tensor(exported, shared_memory=True)
    compiled = openvino.Core().import_model(content, "CPU", _settings(dtype, streams))
    return OpenVino(compiled, streams, exported)


def _settings(dtype: torch.dtype, streams: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "CPU_RUNTIME_CACHE_CAPACITY": KEPT_KERNELS,
        "ENABLE_CPU_PINNING": False,  # a thread that shares its core with another process would hold up all others
    }


class OpenVino:
    """Calls a ``compiled`` network on the CPU; tensors come in the order of its inputs. Safe in any thread.

    Of several ``streams``, each takes an equal share of the rows. The output is in float32. ``memory`` is kept for the network,
    which reads its weights there.
    """

    def __init__(self, compiled: Any, streams: int = 1, memory: Any = None) -> None:
        self._compiled = compiled
        self._memory = memory
        self._streams = streams
        self._of_thread = threading.local()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the output of the network."""
        arrays = [np.ascontiguousarray(tensor.float() if tensor.is_floating_point() else tensor) for tensor in inputs]
        streams = min(self._streams, len(arrays[0]))
        shares = list(zip(*(np.array_split(array, streams) for array in arrays), strict=True))
        started = []
        try:
            for request, share in zip(self._requests(), shares, strict=False):
                request.start_async([_fill_up(array) for array in share], share_inputs=True)
                started.append(request)
        finally:
            for request in started:
                request.wait()
        outputs = [
            torch.from_numpy(request.get_output_tensor(0).data[: len(share[0])].copy())
            for request, share in zip(started, shares, strict=True)
        ]
        return outputs[0] if streams == 1 else torch.cat(outputs)

    def _requests(self) -> list[Any]:
        if not hasattr(self._of_thread, "requests"):
            self._of_thread.requests = [self._compiled.create_infer_request() for _ in range(self._streams)]
        requests: list[Any] = self._of_thread.requests
        return requests


def _fill_up(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return ``array`` with its last row repeated, so that it is one of few shapes."""
    more = filled_up(len(array)) - len(array)
    return np.concatenate([array, np.repeat(array[-1:], more, 0)]) if more else array
