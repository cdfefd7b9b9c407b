"""Files in GGUF of toy size, and the same weights unpacked."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor
from gguf import GGMLQuantizationType as Packing
from torch import Tensor

BLOCKS = {Packing.Q8_0: 32, Packing.Q4_0: 32, Packing.Q5_1: 32}


def write_gguf(path: Path, weights: Mapping[str, Tensor], packing: Packing = Packing.Q8_0) -> dict[str, Tensor]:
    """Write ``weights`` to ``path``, matrices packed and the others as they are; return them as diffusers unpacks them."""
    writer = gguf.GGUFWriter(path, "any")
    unpacked = {}
    for name, weight in weights.items():
        values = weight.detach().float().numpy()
        if values.ndim == 2 and values.shape[1] % BLOCKS[packing] == 0:
            packed = gguf.quants.quantize(values, packing)
            writer.add_tensor(name, packed, raw_dtype=packing)
            values = dequantize_gguf_tensor(GGUFParameter(torch.from_numpy(packed), quant_type=packing)).numpy()
        elif name.endswith("bias"):
            packed = gguf.quants.quantize(values, Packing.BF16)
            writer.add_tensor(name, packed, raw_dtype=Packing.BF16)
            values = gguf.quants.dequantize(packed, Packing.BF16)
        else:
            writer.add_tensor(name, np.ascontiguousarray(values))
        unpacked[name] = torch.from_numpy(np.array(values, np.float32)).view(weight.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return unpacked


def as_z_image_publishes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the ``weights`` of Z-Image's transformer by the names of its first release."""
    named = {}
    for name, weight in weights.items():
        if name.endswith(".attention.to_q.weight"):
            parts = [weights[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            named[name.replace("to_q", "qkv")] = torch.cat(parts)
        elif not name.endswith((".attention.to_k.weight", ".attention.to_v.weight")):
            for ours, theirs in (
                ("all_final_layer.2-1.", "final_layer."),
                ("all_x_embedder.2-1.", "x_embedder."),
                (".attention.to_out.0.", ".attention.out."),
                (".attention.norm_k.", ".attention.k_norm."),
                (".attention.norm_q.", ".attention.q_norm."),
            ):
                name = name.replace(ours, theirs)
            named[name] = weight
    return {**named, "norm_final.weight": torch.ones(4)}
