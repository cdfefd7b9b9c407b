"""The header of a safetensors file: names, shapes and metadata, without any tensor."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from diffusion.text import N_, Text

SUFFIX: Final = ".safetensors"
PICKLE_SUFFIXES: Final = (".ckpt", ".pt", ".pth", ".bin")
PICKLES: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")  # torch's archives and plain pickles
MAX_HEADER: Final = 20_000_000  # bytes; training tools write the counts of all their captions into it
MAX_FILE: Final = 2 * 2**30  # bytes; the largest LoRAs of Stable Diffusion XL have half of it
SIZES: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes of a number that a LoRA may have

PICKLED: Final = N_("The LoRA {name} is a pickle. Opening one can run any code, so choose another one.")
DAMAGED: Final = N_("The file of the LoRA {name} is damaged. Choose another one, and please tell the operator.")
TOO_LARGE: Final = N_("The LoRA {name} is too large: it has {size} GiB, and at most {most} are allowed. Choose another one.")
GONE: Final = N_("The file of the LoRA {name} is gone. Choose another one, and please tell the operator.")
NUMBERS: Final = N_("The LoRA {name} has numbers of the kind {kind}, which I cannot read. Choose another one.")


class LoraError(Exception):
    """A file cannot be used as a LoRA; ``problem`` is the sentence for members."""

    def __init__(self, problem: Text) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class Header:
    """The shapes of a file's tensors by name, and its ``metadata``."""

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def read_header(path: Path, name: str = "") -> Header:
    """Read and check the header of ``path``, which members know by ``name`` or as the file; raises `LoraError`.

    Every tensor has to lie within the file, so that a cut file is found here.
    """
    name = name or path.stem
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if path.suffix.lower() in PICKLE_SUFFIXES or start.startswith(PICKLES):
                raise LoraError(Text(PICKLED, name=name))
            if size > MAX_FILE:
                raise LoraError(Text(TOO_LARGE, name=name, size=f"{size / 2**30:.1f}", most=MAX_FILE // 2**30))
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise LoraError(Text(DAMAGED, name=name))
            entries = json.loads(file.read(length))
            return _checked(entries, size - 8 - length, name)
    except OSError as error:
        raise LoraError(Text(GONE, name=name)) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LoraError(Text(DAMAGED, name=name)) from error


def _checked(entries: Mapping[str, Any], room: int, name: str) -> Header:
    metadata = {key: value for key, value in (entries.get("__metadata__") or {}).items() if isinstance(value, str)}
    shapes = {}
    for tensor, entry in entries.items():
        if tensor == "__metadata__":
            continue
        if entry["dtype"] not in SIZES:
            raise LoraError(Text(NUMBERS, name=name, kind=str(entry["dtype"])[:20]))
        shape = tuple(int(side) for side in entry["shape"])
        first, end = entry["data_offsets"]
        if min((0, *shape)) < 0 or not 0 <= first <= end <= room or end - first != math.prod(shape) * SIZES[entry["dtype"]]:
            raise LoraError(Text(DAMAGED, name=name))
        shapes[tensor] = shape
    return Header(shapes, metadata)
