"""Compare the memory that is computed before loading with what is measured: ``python -m benchmarks.memory``.

A process for each number of rows loads the model, denoises pictures with that many rows at once, decodes them one by one as the
engine does, and measures how its memory grows: that of the GPU on CUDA, else its resident set. It needs Linux.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.support.memory import MIB, peak_bytes, reset_peak, resident_bytes
from benchmarks.support.shaped_models import SHAPES, model_for
from diffusion.families.model import ImageModel
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.device import best_device, trim_memory
from diffusion.loading.memory import model_bytes
from diffusion.loading.model import describe_model
from diffusion.loading.random_weights import build_tiny_components, write_configs
from diffusion.loading.working_memory import decode_bytes, encode_bytes, step_bytes
from diffusion.sampling.trajectory import denoise_all

STEPS = 2


@dataclass(frozen=True)
class Growth:
    """Bytes by which memory grows: by the weights, and for a while by what calls take besides."""

    weights: float
    step: float
    decoding: float

    @property
    def most(self) -> float:
        """The bytes at the peak."""
        return self.weights + max(self.step, self.decoding)


def compute(model_id: str | None, shape: str | None, rows: int, dtype: torch.dtype | None) -> Growth:
    """Compute the growth without weights."""
    device = torch.device(best_device())
    with TemporaryDirectory() as temporary:
        source = model_id
        if shape:
            source = str(Path(temporary) / shape)
            write_configs(Path(source), shape, factor=1, side=SHAPES[shape])
        model = describe_model(source, dtype=dtype)
        request = model.request("red apple")
        step = step_bytes(model.family, request, rows, device=device)
        step = max(step, encode_bytes(model.family, request, device=device))
        return Growth(model_bytes(model), step, decode_bytes(model.family, request, device=device))


@torch.inference_mode()
def measure(model_id: str | None, shape: str | None, rows: int, dtype: torch.dtype | None) -> Growth:
    """Load the model and measure the growth."""
    _warm_up()
    before = _present_bytes()
    model = model_for(model_id, shape, dtype=dtype)
    trim_memory()
    loaded = _present_bytes()
    settings: dict[str, Any] = {"steps": STEPS, "guidance_interval": (0, 1), "guidance_scale": 1 if rows == 1 else 3}
    requests = [model.request("red apple", seed=seed, **settings) for seed in range(max(1, rows // 2))]
    _reset_peak()
    denoised = denoise_all(model, [model.trajectory(request) for request in requests], rows)
    after_steps = _most_bytes()
    trim_memory()
    kept = _present_bytes()
    _reset_peak()
    model.decode(denoised[0])
    return Growth(loaded - before, after_steps - loaded, _most_bytes() - kept)


def _warm_up() -> None:
    """Draw with a tiny model, so that the libraries load and allocate what they keep."""
    parts = build_tiny_components()
    parts["scheduler_config"] = dict(parts.pop("scheduler").config)
    ImageModel(StableDiffusion(**parts)).generate(["a fox"], width=32, height=32, steps=1)


def _present_bytes() -> float:
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else resident_bytes()


def _most_bytes() -> float:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_bytes()


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    reset_peak()


def _line(rows: int, computed: Growth, measured: Mapping[str, float]) -> str:
    found = Growth(**measured)
    parts = (("weights", "weights"), ("step", "steps"), ("decoding", "decoding"), ("most", "most"))
    texts = [f"{text} {getattr(computed, name) / MIB:.0f} / {getattr(found, name) / MIB:.0f}" for name, text in parts]
    return f"{rows:3} rows  {',  '.join(texts)} MiB computed / measured: {computed.most / found.most:.3f}"


def main() -> None:
    """Measure each number of rows in a process of its own."""
    parser = argparse.ArgumentParser("python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--shape", choices=SHAPES, help="use random weights of a published shape")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="by default that of the device")
    parser.add_argument("--measure", action="store_true", help="print what is measured in this process")
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype) if options.dtype else None
    if options.measure:
        print(json.dumps(asdict(measure(options.model, options.shape, options.rows[0], dtype))))
        return
    given = {f"--{name}": getattr(options, name) for name in ("model", "shape", "dtype")}
    model_options = [text for name, value in given.items() if value for text in (name, value)]
    for rows in options.rows:
        command = [sys.executable, "-m", "benchmarks.memory", "--measure", "--rows", str(rows), *model_options]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        print(
            _line(rows, compute(options.model, options.shape, rows, dtype), json.loads(found.stdout.splitlines()[-1])),
            flush=True,
        )


if __name__ == "__main__":
    main()
