"""Measure peak memory by rows of a call: ``python -m benchmarks.memory``.

A process for each number of rows loads the model, denoises pictures with that many rows at once, decodes them one by one as the
engine does, and prints its peak: of GPU memory on CUDA, else of its own memory. It needs Linux.
"""

import argparse
import subprocess
import sys
from typing import Any

import torch

from benchmarks.support.memory import MIB, peak_bytes, reset_peak
from benchmarks.support.shaped_models import SHAPES, model_for
from diffusion.sampling.trajectory import denoise_all

STEPS = 2


def measure(model_id: str | None, shape: str | None, rows: int) -> tuple[float, float]:
    """Return the MiB of the loaded model and at the peak of calls of ``rows`` rows."""
    model = model_for(model_id, shape)
    on_card = model.device.type == "cuda"
    settings: dict[str, Any] = {"steps": STEPS, "guidance_interval": (0, 1), "guidance_scale": 1 if rows == 1 else 3}
    reset_peak()
    model_bytes = torch.cuda.memory_allocated() if on_card else peak_bytes()
    requests = [model.request("red apple", seed=seed, **settings) for seed in range(max(1, rows // 2))]
    for latents in denoise_all(model, [model.trajectory(request) for request in requests], rows):
        model.decode(latents)
    most_bytes = torch.cuda.max_memory_allocated() if on_card else peak_bytes()
    return model_bytes / MIB, most_bytes / MIB


def main() -> None:
    """Measure each number of rows in a process of its own."""
    parser = argparse.ArgumentParser("python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--shape", choices=SHAPES, help="use random weights of a published shape")
    options = parser.parse_args()
    if len(options.rows) == 1:
        model_mib, peak_mib = measure(options.model, options.shape, options.rows[0])
        print(f"{options.rows[0]:3} rows  {model_mib:7.0f} MiB with the model loaded, {peak_mib:7.0f} at the peak", flush=True)
        return
    model_options = ["--model", options.model] if options.model else []
    if options.shape:
        model_options += ["--shape", options.shape]
    for rows in options.rows:
        subprocess.run([sys.executable, "-m", "benchmarks.memory", "--rows", str(rows), *model_options], check=True)


if __name__ == "__main__":
    main()
