"""Networks by OpenVINO, which is faster than torch on most CPUs."""

import importlib.util
import threading
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from diffusion.backends.row_counts import filled_up, split_rows

PRECISIONS: Final = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
MAX_STREAMS: Final = 2
Shape = tuple[int, int, int]  # rows, height and width of the first input
Exported = Mapping[Shape | None, "np.ndarray[Any, Any]"]  # compiled networks by the shapes that they are for; None: any others
KEPT_KERNELS: Final = 600  # in each network, of 60 kB: about 60 for a UNet, a size and a number of rows


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


def with_shape(converted: Any, rows: int, height: int, width: int) -> Any:
    """Return a ``converted`` network for calls of ``rows`` whose first input has these last two sides; it is faster."""
    from openvino import PartialShape

    fixed = converted.clone()
    first, *others = (given.get_partial_shape() for given in fixed.inputs)
    shapes = ([rows, first[1], height, width], *([rows, *list(shape)[1:]] for shape in others))
    fixed.reshape({given: PartialShape(shape) for given, shape in zip(fixed.inputs, shapes, strict=True)})
    return fixed


def compile_converted(converted: Any, dtype: torch.dtype) -> Any:
    """Compile a ``converted`` network for this CPU; it computes in ``dtype``."""
    import openvino

    return openvino.Core().compile_model(converted, "CPU", _settings(dtype, 1))


def import_compiled(exported: Exported, dtype: torch.dtype, streams: int = 1) -> "OpenVino":
    """Return the compiled networks that were ``exported`` as one, with ``streams`` that compute side by side."""
    settings = _settings(dtype, streams)

    def load(shape: Shape | None) -> Any:
        import openvino

        return openvino.Core().import_model(openvino.Tensor(exported[shape], shared_memory=True), "CPU", settings)

    return OpenVino(exported, load, streams)


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
    """Calls a network on the CPU; tensors come in the order of its inputs. Safe in any thread.

    It is compiled for ``shapes``, each with rows and last two sides of the first input, and for all others (None). The first
    call of each loads it by ``load``, as each takes memory. Of several ``streams``, each takes an equal share of the rows. The
    output is in float32.
    """

    def __init__(self, shapes: Collection[Shape | None], load: Callable[[Shape | None], Any], streams: int = 1) -> None:
        self._shapes = shapes
        self._load = load
        self._loaded: dict[Shape | None, Any] = {}
        self._loading = threading.Lock()
        self._streams = streams
        self._of_thread = threading.local()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the output of the network."""
        arrays = [np.ascontiguousarray(tensor.float() if tensor.is_floating_point() else tensor) for tensor in inputs]
        usual = self._usual_rows(arrays[0].shape)
        outputs: list[Tensor] = []
        start = 0
        for rows in split_rows(len(arrays[0]), self._streams, usual):
            outputs += self._call([array[start : start + rows] for array in arrays], usual)
            start += rows
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _call(self, arrays: Sequence["np.ndarray[Any, Any]"], usual: Collection[int]) -> list[Tensor]:
        """Return the output of each stream."""
        streams = min(self._streams, len(arrays[0]))
        shares = list(zip(*(np.array_split(array, streams) for array in arrays), strict=True))
        rows = filled_up(len(shares[0][0]), usual)  # the first is the largest
        started = []
        try:
            for stream, share in enumerate(shares):
                filled = [_with_rows(array, rows) for array in share]
                request = self._request(filled[0].shape, stream)
                request.start_async(filled, share_inputs=True)
                started.append(request)
        finally:
            for request in started:
                request.wait()
        return [
            torch.from_numpy(request.get_output_tensor(0).data[: len(share[0])].copy())
            for request, share in zip(started, shares, strict=True)
        ]

    def _request(self, shape: Sequence[int], stream: int) -> Any:
        """Return what this thread asks for a share of ``shape``, which runs in ``stream``."""
        rows, _, height, width = shape
        own = (rows, height, width)
        place = (own if own in self._shapes else None), stream
        requests: dict[Any, Any] = self._of_thread.__dict__
        if place not in requests:
            requests[place] = self._compiled(place[0]).create_infer_request()
        return requests[place]

    def _usual_rows(self, shape: Sequence[int]) -> list[int]:
        """Return the rows of the networks of their own for inputs of ``shape``, which has any rows."""
        return [own[0] for own in self._shapes if own and own[1:] == tuple(shape[2:])]

    def _compiled(self, shape: Shape | None) -> Any:
        with self._loading:
            if shape not in self._loaded:
                self._loaded[shape] = self._load(shape)
            return self._loaded[shape]


def _with_rows(array: "np.ndarray[Any, Any]", rows: int) -> "np.ndarray[Any, Any]":
    """Return ``array`` with its last row repeated until there are ``rows``."""
    more = rows - len(array)
    return np.concatenate([array, np.repeat(array[-1:], more, 0)]) if more else array
