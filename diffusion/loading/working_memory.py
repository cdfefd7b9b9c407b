"""The memory that calls of networks take besides the weights, computed on torch's device "meta", which allocates nothing."""

import weakref
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from diffusion.families.family import Family
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions

CONVOLUTIONS: Final = (torch.ops.aten.conv2d.default, torch.ops.aten.conv3d.default, torch.ops.aten.convolution.default)


def step_bytes(family: Family, request: ImageRequest, rows: int, *, device: torch.device) -> int:
    """Return the peak memory of a call of the denoiser of ``family`` on ``device``, for ``rows`` of pictures like ``request``.

    Here and below, the networks of ``family`` are on the meta device.
    """
    with torch.inference_mode(), _WithoutNumbers():
        row = family.encode(request.prompt, request)
    conditions = Conditions.stack([row] * rows).tensors
    latents = _latents(family, request, rows).to(family.dtype)
    timesteps = torch.empty(rows, device="meta")
    return peak_bytes(lambda: family.predict(latents, timesteps, **conditions), device)


def decode_bytes(family: Family, request: ImageRequest, *, device: torch.device) -> int:
    """Return the peak memory of decoding a picture like ``request`` on ``device``, the picture included."""
    return peak_bytes(lambda: family.to_pixels(_latents(family, request, 1)), device)


def encode_bytes(family: Family, request: ImageRequest, *, device: torch.device) -> int:
    """Return the peak memory of encoding the prompt of ``request`` on ``device``."""
    family.forget_texts()
    return peak_bytes(lambda: family.encode(request.prompt, request), device)


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes of tensors that are alive at once during ``call``, without those that were there before.

    They are as many as on ``device``, wherever the tensors are.
    """
    live = _LiveBytes(device.type == "cpu")
    with torch.inference_mode(), _WithoutNumbers(), live:
        result = call()
    del result
    return live.peak


def _latents(family: Family, request: ImageRequest, rows: int) -> Tensor:
    factor = family.latent_factor
    return torch.empty(rows, family.latent_channels, request.height // factor, request.width // factor, device="meta")


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operators make, until these are freed.

    On a CPU, convolutions copy what they read, and then what they make, because oneDNN has layouts of its own.
    """

    def __init__(self, convolutions_copy: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._convolutions_copy = convolutions_copy
        self.peak = 0
        self._now = 0
        self._storages: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func`` and count what it makes."""
        result = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage()._cdata for tensor in tree_iter(args) if isinstance(tensor, Tensor)}
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given:
                self._count(tensor.untyped_storage())
        copies = 0
        if self._convolutions_copy and func in CONVOLUTIONS:
            copies = max(sum(tensor.nbytes for tensor in args if isinstance(tensor, Tensor)), result.nbytes)
        self.peak = max(self.peak, self._now + copies)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return
        self._storages[key] = weakref.ref(storage, lambda _: self._free(key, size))
        self._now += size

    def _free(self, key: int, size: int) -> None:
        del self._storages[key]
        self._now -= size


class _WithoutNumbers(TorchFunctionMode):
    """Lets networks run on the meta device, with the memory that they take on others.

    The kernels of attention there take no memory but for their output; here it would be the whole matrix of weights. Networks
    that ask whether a mask hides nothing are told so.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func``, or return what stands for its result."""
        if func is Tensor.__bool__ and args[0].is_meta:
            return True
        if func is not scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        query, value = named["query"], named["value"]
        return query.new_empty(*query.shape[:-1], value.shape[-1])
