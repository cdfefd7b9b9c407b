"""Memory that pictures take, by how many rows a call of the network has: ``python -m benchmarks.memory``, on Linux.

Each number of rows has a process of its own, which loads the model, makes so many rows' worth of pictures at once, decodes them
one by one as the engine does, and prints its peak: of the card's memory on CUDA, else of its own.
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


def peak(model_id: str | None, shape: str | None, rows: int) -> tuple[float, float]:
    """Return the MiB that the model takes, and those at the peak of a call of ``rows`` rows."""
    model = model_for(model_id, shape)
    on_card = model.device.type == "cuda"
    settings: dict[str, Any] = {"steps": STEPS, "guidance_interval": (0, 1), "guidance_scale": 1 if rows == 1 else 3}
    reset_peak()
    held = torch.cuda.memory_allocated() if on_card else peak_bytes()
    requests = [model.request("red apple", seed=seed, **settings) for seed in range(max(1, rows // 2))]
    for latents in denoise_all(model, [model.trajectory(request) for request in requests], rows):
        model.decode(latents)
    most = torch.cuda.max_memory_allocated() if on_card else peak_bytes()
    return held / MIB, most / MIB


def main() -> None:
    """Read the command line and measure, each number of rows in a process of its own."""
    parser = argparse.ArgumentParser("python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of a published shape instead")
    options = parser.parse_args()
    if len(options.rows) == 1:
        held, most = peak(options.model, options.shape, options.rows[0])
        print(f"{options.rows[0]:3} rows  {held:7.0f} MiB with the model loaded, {most:7.0f} at the peak", flush=True)
        return
    given = [*(["--model", options.model] if options.model else []), *(["--shape", options.shape] if options.shape else [])]
    for rows in options.rows:
        subprocess.run([sys.executable, "-m", "benchmarks.memory", "--rows", str(rows), *given], check=True)


if __name__ == "__main__":
    main()
