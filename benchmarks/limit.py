"""Compare the UNet with this machine's peak rate: ``python -m benchmarks.limit``.

The rate of a UNet call, its floating-point operations (counted by torch) over its time, is given as a share of the largest rate
of plain matrix products and convolutions in the same dtype and run. It is measured for several numbers of rows and several
ways: ``plain`` is the engine's own call; the other ways change the UNet first and can be joined by a plus.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.support.shaped_models import SHAPES, build_sdxl_unet, model_for
from diffusion.backends.cuda_graphs import Graphs
from diffusion.families.model import ImageModel
from diffusion.sampling.conditions import Conditions

Call = Callable[[], Any]
CHANGES: dict[str, Callable[[Any], Any]] = {
    "plain": lambda model: None,
    "channels_last": lambda model: model.family.denoiser.to(memory_format=torch.channels_last),
    "fused": lambda model: model.family.denoiser.fuse_qkv_projections(),  # of attention
    "compiled": lambda model: model.compile(),
}


class SdxlShaped:
    """The UNet of Stable Diffusion XL and the inputs that a call of it needs."""

    name = "sdxl-shaped"
    sample_side = 1024

    def __init__(self) -> None:
        self.unet = build_sdxl_unet()
        self.device = self.unet.device
        self.dtype = self.unet.dtype
        self._network = Graphs(self._call, self.device) if self.device.type == "cuda" else self._call

    def _call(self, latents: Tensor, timesteps: Tensor, prompts: Tensor, pooled: Tensor, sizes: Tensor) -> Tensor:
        added = {"text_embeds": pooled, "time_ids": sizes}
        prediction: Tensor = self.unet(latents, timesteps, prompts, added_cond_kwargs=added, return_dict=False)[0]
        return prediction

    def call(self, rows: int, side: int) -> Call:
        """Return a call of ``rows`` rows for pictures of ``side`` pixels."""
        shapes = {
            "latents": (rows, 4, side // 8, side // 8),
            "timesteps": (rows,),
            "prompts": (rows, 77, 2048),
            "pooled": (rows, 1280),
            "sizes": (rows, 6),
        }
        inputs = {name: torch.randn(*shape, device=self.device, dtype=self.dtype) for name, shape in shapes.items()}
        return lambda: self._network(**inputs)


def unet_call(model: ImageModel | SdxlShaped, rows: int, side: int) -> Call:
    """Return a call of the UNet as in a step of the engine, with latents on the CPU."""
    if isinstance(model, SdxlShaped):
        return model.call(rows, side)
    latents = torch.randn(rows, *model.latent_shape(side, side)[1:])
    timesteps = torch.full((rows,), 500.0)
    row = model.family.encode("red apple", model.request("red apple"))
    conditions = Conditions.stack([row] * rows)
    return lambda: model.predict_noise(latents, timesteps, conditions)


def median_seconds(call: Call, repeats: int, device: torch.device) -> float:
    """Return the median seconds of ``call`` on ``device``."""
    times = []
    for _ in range(repeats + 2):  # the first two warm up and record the CUDA graph
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return median(times[2:])


def count_flops(call: Call) -> int:
    """Count the floating-point operations of ``call``."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def peak_flops_per_second(device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """Return the largest rate of a few matrix products and convolutions."""
    calls: list[Call] = []
    for side in (1024, 2048, 4096) + ((8192,) if device.type == "cuda" else ()):
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        calls.append(lambda left=left, right=right: left @ right)  # type: ignore[misc]
    for channels, side in ((320, 64), (640, 32)):
        sample = torch.randn(4, channels, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        calls.append(lambda sample=sample, weight=weight: conv2d(sample, weight, padding=1))  # type: ignore[misc]
    return max(count_flops(call) / median_seconds(call, repeats, device) for call in calls)


@torch.inference_mode()
def shares_of_peak(model: ImageModel, rows: Sequence[int], repeats: int) -> dict[int, float]:
    """Return the share of the machine's peak rate that a call of the UNet reaches, by its rows.

    It is called as the engine does; a row's operations are counted uncompiled.
    """
    side = model.sample_side
    peak_rate = peak_flops_per_second(model.device, model.dtype, repeats)
    network, model._network = model._network, model._predict
    row_flops = count_flops(unet_call(model, 1, side))
    model._network = network
    seconds = {count: median_seconds(unet_call(model, count, side), repeats, model.device) for count in rows}
    return {count: count * row_flops / taken / peak_rate for count, taken in seconds.items()}


@torch.inference_mode()
def measure(ways: list[str], rows: list[int], repeats: int, side: int | None, build: Callable[[], Any]) -> None:
    """Print a line for each way and number of rows; each way has a model of its own."""
    model = build()
    side = side or model.sample_side
    peak_rate = peak_flops_per_second(model.device, model.dtype, repeats)
    row_flops = count_flops(unet_call(model, 1, side))
    machine = f"{model.dtype}, {model.device}: at most {peak_rate / 1e9:.0f} GFLOP/s"
    print(f"{model.name}, {side}x{side}, {machine}, medians of {repeats}")
    print(f"{row_flops / 1e9:.1f} GFLOP per row and call")
    for way in ways:
        model = build()
        started = time.perf_counter()
        for change in way.split("+"):
            CHANGES[change](model)
        print(f"{way}: ready after {time.perf_counter() - started:.1f} s")
        for count in rows:
            call_seconds = median_seconds(unet_call(model, count, side), repeats, model.device)
            share = count * row_flops / call_seconds / peak_rate
            cells = f"{count:3} rows: {1000 * call_seconds / count:8.2f} ms per row, {share:4.0%} of the peak rate"
            gpu_memory = f"   {torch.cuda.max_memory_allocated() / 2**30:5.1f} GiB" if model.device.type == "cuda" else ""
            print(cells + gpu_memory, flush=True)


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.limit", description=__doc__)
    parser.add_argument("--ways", nargs="+", default=["plain"], help=f"of {', '.join(CHANGES)}, such as channels_last+compiled")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--side", type=int, help="of the picture, in pixels; the model's own if left out")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--shape", choices=[*SHAPES, "sdxl"], help="use random weights of a published shape")
    options = parser.parse_args()

    def build() -> ImageModel | SdxlShaped:
        return SdxlShaped() if options.shape == "sdxl" else model_for(options.model, options.shape)

    measure(options.ways, options.rows, options.repeats, options.side, build)


if __name__ == "__main__":
    main()
