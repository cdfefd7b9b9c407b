"""Load an upscaler from a safetensors file, of any architecture that spandrel knows."""

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from diffusion.errors import ModelLoadError, reason_of
from diffusion.images.upscaler import SMALL_TILE, TILE, Upscaler
from diffusion.loading.device import best_device, is_out_of_memory, why_not_loaded
from diffusion.loading.file_kind import check_format

log = logging.getLogger(__name__)
MAX_BYTES: Final = 2 * 2**30  # the largest known upscalers have less than half of it
MANY_PARAMETERS: Final = 4  # millions
SLOW: Final = (
    "the upscaler %s has %.0f million parameters, which is slow on a CPU: it takes minutes for a picture, in small tiles."
    " Choose a compact network, such as one of SPAN, or a GPU."
)
NOT_INSTALLED: Final = "upscalers need the package spandrel, which cannot be imported ({reason}): pip install -e '.[upscaler]'"


@lru_cache(1)  # all models share it
def load_upscaler(source: str, device: str | None = None) -> Upscaler:
    """Load the upscaler in the safetensors file ``source``.

    It computes in half precision where a GPU and the network allow it. Raises `ModelLoadError` with the reason.
    """
    path = Path(source)
    try:
        check_format(path)
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES >> 30} GiB, so it is no upscaler. Name a smaller file.")
        return _load(path, torch.device(device or best_device()))
    except ValueError as error:
        raise ModelLoadError(source, f"UPSCALER names no usable file: {reason_of(error)}") from error
    except OSError as error:
        raise ModelLoadError(source, f"the file that UPSCALER names cannot be read: {reason_of(error)}") from error
    except Exception as error:
        raise ModelLoadError(source, why_not_loaded(error)) from error


def _load(path: Path, device: torch.device) -> Upscaler:
    try:
        import spandrel
    except Exception as error:  # torchvision, which it needs, raises anything if it was built for another torch
        raise ValueError(NOT_INSTALLED.format(reason=reason_of(error))) from error
    try:
        network: Any = spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(load_file(path)))
    except SafetensorError as error:
        raise ValueError(f"it is no complete safetensors file ({error}). Copy or download it again.") from error
    except spandrel.UnsupportedModelError as error:
        raise ValueError("it is no upscaler of a known architecture. Name one such as ESRGAN, SwinIR or SPAN.") from error
    except Exception as error:  # an architecture raises anything for weights of another shape
        if is_out_of_memory(error) or isinstance(error, OSError):
            raise
        raise ValueError(f"its weights do not fit its architecture ({reason_of(error)}). Name another file.") from error
    channels = network.input_channels, network.output_channels
    if not isinstance(network, spandrel.ImageModelDescriptor) or network.purpose != "SR" or network.scale < 2:
        raise ValueError(
            f"it is {network.architecture.name}, which does not enlarge pictures. Name one that does, by 2 or more."
        )
    if channels != (3, 3):
        raise ValueError(f"it reads {channels[0]} channels and makes {channels[1]}, not the 3 of RGB. Name another file.")
    dtype = torch.float16 if device.type == "cuda" and network.supports_half else torch.float32
    parameters = sum(parameter.numel() for parameter in network.model.parameters()) / 1e6
    is_slow = device.type == "cpu" and parameters > MANY_PARAMETERS
    if is_slow:
        log.warning(SLOW, path.name, parameters)
    network.to(device, dtype).eval()
    like = torch.empty(0, device=device, dtype=dtype)
    return Upscaler(network, scale=network.scale, name=path.stem, like=like, tile=SMALL_TILE if is_slow else TILE)
