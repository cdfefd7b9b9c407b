"""How near the UNet comes to what this machine can compute at all: ``python -m benchmarks.limit``.

The floating-point operations of one call of the UNet, as torch's counter counts them, over its time, against the largest rate
of plain matrix products and convolutions in the same dtype, measured in the same run; for several numbers of rows.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from diffusion import ImageDiffusionModel


def seconds(call: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Give the median time of ``call``."""
    times = []
    for _ in range(repeats + 1):  # the first warms up
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times[1:])


def rate(call: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Give the floating-point operations a second of ``call``."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / seconds(call, repeats, device)


def peak(device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """Give the largest rate of a few shapes that suit the machine."""
    rates = []
    for side in (1024, 2048, 4096) + ((8192,) if device.type == "cuda" else ()):
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        rates.append(rate(lambda left=left, right=right: left @ right, repeats, device))  # type: ignore[misc]
    for channels, side in ((320, 64), (640, 32)):
        sample = torch.randn(4, channels, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        rates.append(rate(lambda sample=sample, weight=weight: conv2d(sample, weight, padding=1), repeats, device))  # type: ignore[misc]
    return max(rates)


@torch.inference_mode()
def measure(rows: list[int], repeats: int, side: int | None, model_id: str | None) -> None:
    """Print a line for each number of rows."""
    model = ImageDiffusionModel.from_pretrained(model_id)
    side = side or model.sample_side
    best = peak(model.device, model.dtype, repeats)
    print(f"{model.name}, {side}x{side}, {model.dtype}, {model.device}: at most {best / 1e9:.0f} GFLOP/s, medians of {repeats}")
    embeds = model.encode_prompt("red apple")
    for count in rows:
        latents = torch.randn(count, *model.latent_shape(side, side)[1:], device=model.device)
        timesteps = torch.full((count,), 500.0, device=model.device)
        prompts = embeds.expand(count, -1, -1)

        def call(latents: Any = latents, timesteps: Any = timesteps, prompts: Any = prompts) -> Any:
            return model.predict_noise(latents, timesteps, prompts)

        each = seconds(call, repeats, model.device) / count
        print(f"{count:3} rows: {each * 1000:8.2f} ms a row, {rate(call, repeats, model.device) / best:4.0%} of that")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.limit", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--side", type=int, help="of the picture; the model's own if left out")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    measure(options.rows, options.repeats, options.side, options.model)


if __name__ == "__main__":
    main()
