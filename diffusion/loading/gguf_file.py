"""The network that draws, from a file in GGUF: weights of 2 to 8 bits, which each layer unpacks while it computes."""

import importlib.util
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import GGUFQuantizationConfig
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import Tensor, nn

from diffusion.families.family import Family
from diffusion.loading.file_kind import GGUF, kind_of
from diffusion.loading.folder import empty_network

TRANSFORMER: Final = "transformer"  # the part that such a file replaces: UNets in GGUF are rare
PREFIX: Final = "model.diffusion_model."  # before the names of tensors in some files


def load_gguf(path: Path, family: type[Family], folder: Path, dtype: torch.dtype, *, empty: bool = False) -> nn.Module:
    """Load the transformer of ``family``, whose configuration is in ``folder``, from ``path``; it computes in ``dtype``.

    With ``empty``, only the header is read, and the network is on the meta device. Raises `ValueError` with the reason.
    """
    kind: Any = family.parts[TRANSFORMER]
    tensors = _read(path, empty)
    known = empty_network(kind, folder, TRANSFORMER, dtype).state_dict()
    named = _named_as(known, tensors, kind, dict(kind.load_config(folder, subfolder=TRANSFORMER)))
    if differing := sorted(known.keys() ^ named.keys()):
        is_kind = kind_of(tensors) or "no network that is known here"
        wanted = f"of {family.label}"
        reason = f"which is {is_kind}, and the model is {wanted}"
        if is_kind == wanted:
            reason = f"and the model is another one {wanted}: {len(differing)} tensors, such as {differing[0]}, are in only one"
        raise ValueError(f"DENOISER names {path.name}, {reason}. Name the file of this model.")
    try:
        network: nn.Module = kind.from_single_file(
            named,
            config=str(folder),
            subfolder=TRANSFORMER,
            quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
            torch_dtype=dtype,
            device="meta" if empty else None,
            local_files_only=True,
        )
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"DENOISER names {path.name}, which does not fit the model ({error}).") from error
    _unpack_others(network, dtype)
    return network


def _read(path: Path, empty: bool) -> dict[str, Tensor]:
    """Return the tensors in ``path`` by their names; packed ones keep how they are packed."""
    if not path.is_file():
        raise ValueError(f"DENOISER names {path}, and there is no such file. Download it, and correct the path.")
    with path.open("rb") as file:
        if file.read(len(GGUF)) != GGUF:
            raise ValueError(f"DENOISER names {path.name}, which is not in GGUF.")
    if importlib.util.find_spec("gguf") is None:
        raise ValueError("DENOISER needs a package that is not installed: pip install -e '.[gguf]'.")
    from diffusers.quantizers.gguf.utils import SUPPORTED_GGUF_QUANT_TYPES, GGUFParameter
    from gguf import GGMLQuantizationType, GGUFReader

    try:
        stored = GGUFReader(path).tensors
    except Exception as error:  # the library raises anything for a file that is cut
        raise ValueError(f"DENOISER names {path.name}, which is no complete GGUF file. Download it again.") from error
    tensors = {}
    for tensor in stored:
        packing = GGMLQuantizationType(tensor.tensor_type)
        is_plain = packing in (GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16)
        if not is_plain and packing not in SUPPORTED_GGUF_QUANT_TYPES:
            known = ", ".join(each.name for each in SUPPORTED_GGUF_QUANT_TYPES)
            raise ValueError(f"DENOISER names {path.name}, whose weights are packed as {packing.name}. Known are {known}.")
        content = torch.from_numpy((tensor.data[:0] if empty else tensor.data).copy())
        if empty:
            content = content.new_empty(tensor.data.shape, device="meta")
        if packing == GGMLQuantizationType.BF16:
            content = content.view(torch.bfloat16)
        tensors[tensor.name.removeprefix(PREFIX)] = content if is_plain else GGUFParameter(content, quant_type=packing)
    return tensors


def _named_as(
    known: Mapping[str, Tensor], tensors: Mapping[str, Tensor], kind: Any, config: dict[str, Any]
) -> dict[str, Tensor]:
    """Return ``tensors`` by the names in diffusers' layout, as far as they are those of a network with ``known`` ones."""
    convert = SINGLE_FILE_LOADABLE_CLASSES[kind.__name__]["checkpoint_mapping_fn"]
    candidates = [dict(tensors)]
    with suppress(KeyError, ValueError, RuntimeError, IndexError, AttributeError, TypeError):  # a tensor is missing
        candidates.append(convert(config=config, checkpoint=dict(tensors)))
    return min(candidates, key=lambda named: len(known.keys() ^ named.keys()))


def _unpack_others(network: nn.Module, dtype: torch.dtype) -> None:
    """Unpack the weights of the layers of ``network`` that do not unpack them themselves."""
    from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter, dequantize_gguf_tensor

    for layer in network.modules():
        for name, weight in layer.named_parameters(recurse=False):
            if isinstance(weight, GGUFParameter) and not (isinstance(layer, GGUFLinear) and name == "weight"):
                setattr(layer, name, nn.Parameter(dequantize_gguf_tensor(weight).to(dtype), requires_grad=False))
