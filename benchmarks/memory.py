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
from torch import nn

from benchmarks.support.memory import MIB, peak_bytes, reset_peak, resident_bytes
from benchmarks.support.shaped_models import SHAPES, model_for
from diffusion.loading.device import trim_memory
from diffusion.loading.memory import model_bytes
from diffusion.loading.model import describe_model
from diffusion.loading.random_weights import write_configs
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


def compute(model_id: str | None, shape: str | None, rows: int) -> Growth:
    """Compute the growth without weights."""
    with TemporaryDirectory() as temporary:
        source = model_id
        if shape:
            source = str(Path(temporary) / shape)
            write_configs(Path(source), shape, factor=1, side=SHAPES[shape])
        model = describe_model(source)
        request = model.request("red apple")
        step = max(step_bytes(model.family, request, rows), encode_bytes(model.family, request))
        return Growth(model_bytes(model), step, decode_bytes(model.family, request))


@torch.inference_mode()
def measure(model_id: str | None, shape: str | None, rows: int) -> Growth:
    """Load the model and measure the growth."""
    _warm_up()
    before = _present_bytes()
    model = model_for(model_id, shape)
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
    """Let the libraries allocate what they keep."""
    pixels = torch.randn(1, 8, 16, 16)
    nn.Sequential(nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 14**2, 8))(pixels)
    nn.functional.scaled_dot_product_attention(pixels, pixels, pixels)


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
    parser.add_argument("--measure", action="store_true", help="print what is measured in this process")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(asdict(measure(options.model, options.shape, options.rows[0]))))
        return
    model_options = ["--model", options.model] if options.model else []
    if options.shape:
        model_options += ["--shape", options.shape]
    for rows in options.rows:
        command = [sys.executable, "-m", "benchmarks.memory", "--measure", "--rows", str(rows), *model_options]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        print(_line(rows, compute(options.model, options.shape, rows), json.loads(found.stdout.splitlines()[-1])), flush=True)


if __name__ == "__main__":
    main()
