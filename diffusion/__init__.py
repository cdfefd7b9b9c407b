"""Darkroom's engine: guided diffusion sampling by hand, batched step by step across requests.

Names are imported on first use, so that code without a model need not load torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusion.config import EngineConfig
    from diffusion.families.model import ImageModel
    from diffusion.loading.model import load_model
    from diffusion.request import ImageRequest, Limits
    from diffusion.result import ImageResult, Progress
    from diffusion.serving.engine import Engine
    from diffusion.serving.job import Job
    from diffusion.tutorial import ImageDiffusionModel

# Threads of torch's OpenMP that wait for others spin by default. If another process is busy on one of the cores, the spinning
# thread takes the other core from the thread that it waits for. OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "Engine": "serving.engine",
    "EngineConfig": "config",
    "ImageDiffusionModel": "tutorial",
    "ImageRequest": "request",
    "ImageResult": "result",
    "Job": "serving.job",
    "Limits": "request",
    "Progress": "result",
    "ImageModel": "families.model",
    "load_model": "loading.model",
}
__all__ = [
    "Engine",
    "EngineConfig",
    "ImageDiffusionModel",
    "ImageModel",
    "ImageRequest",
    "ImageResult",
    "Job",
    "Limits",
    "Progress",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"diffusion.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'diffusion' has no attribute {name!r}")
