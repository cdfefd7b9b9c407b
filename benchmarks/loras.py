"""Draw requests with other LoRAs in shared calls, and group by group: ``python -m benchmarks.loras``.

Both draw the same requests with the same network. In groups, all requests of one LoRA share calls, and one group follows the
other, as with diffusers' `set_adapters`. The groups have their LoRA merged into the weights, so it costs them nothing, and the
time to merge is not counted. The output is pictures per second, and what LoRAs cost requests without one.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file

from benchmarks.support.shaped_models import SHAPES, model_for
from diffusion.families.model import ImageModel
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all

ADAPTED = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")  # as kohya's tools do


def write_lora(model: ImageModel, path: Path, rank: int) -> None:
    """Write a LoRA of random weights for the attention of ``model``."""
    tensors = {}
    for name, module in model.family.lora_networks["unet"].named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim > 1 and name.endswith(ADAPTED):
            one = (1,) * (weight.ndim - 2)
            layer = f"lora_unet_{name.replace('.', '_')}"
            tensors[f"{layer}.lora_down.weight"] = 0.02 * torch.randn(rank, weight.shape[1], *one)
            tensors[f"{layer}.lora_up.weight"] = 0.02 * torch.randn(len(weight), rank, *one)
    save_file(tensors, path)


def requests_of(model: ImageModel, count: int, loras: int, steps: int) -> list[ImageRequest]:
    """Return ``count`` requests, the LoRAs in turns."""
    return [
        model.request(f"apple {seed}", seed=seed, steps=steps, loras=((f"lora{seed % loras}", 0.8),)) for seed in range(count)
    ]


def seconds_of(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Time ``ways`` in turns and return the median of each; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {name: median(times) for name, times in seconds.items()}


def draw(model: ImageModel, requests: Sequence[ImageRequest]) -> None:
    """Draw the latents of ``requests`` in shared calls."""
    denoise_all(model, [model.trajectory(request) for request in requests], max_rows=2 * len(requests))


def draw_groups(model: ImageModel, groups: Sequence[Sequence[ImageRequest]]) -> None:
    """Draw one of ``groups`` after the other."""
    for group in groups:
        draw(model, group)


def measure(model: ImageModel, untouched: ImageModel, options: argparse.Namespace) -> None:
    """Print the figures; ``untouched`` is another copy of ``model``, in which no LoRA is loaded."""
    with torch.inference_mode():
        requests = requests_of(model, options.count, options.loras, options.steps)
        plain = [request.replace(loras=()) for request in requests]
        groups = [plain[first :: options.loras] for first in range(options.loras)]
        with tempfile.TemporaryDirectory() as folder:
            for number in range(options.loras):
                write_lora(model, Path(folder) / f"lora{number}.safetensors", options.rank)
            model.offer_loras([Path(folder)])
            ways: dict[str, Callable[[], object]] = {
                "shared": lambda: draw(model, requests),
                "groups": lambda: draw_groups(model, groups),
                "untouched": lambda: draw(untouched, plain),
                "loaded": lambda: draw(model, plain),
                "one": lambda: draw(model, [requests[0], *plain[1:]]),
            }
            seconds = seconds_of(ways, options.repeats)
    each = f"{options.count} requests, {options.loras} LoRAs of rank {options.rank}, {options.steps} steps"
    print(
        f"{model.name}, {model.dtype}, {model.device}, {torch.get_num_threads()} threads: {each}, medians of {options.repeats}"
    )
    print(f"LoRA by LoRA   {options.count / seconds['groups']:6.2f} pictures a second")
    print(f"shared calls   {options.count / seconds['shared']:6.2f}, {seconds['groups'] / seconds['shared']:.2f} times as many")
    alone = seconds["untouched"]
    loaded, one = seconds["loaded"], seconds["one"]
    print(f"without LoRA   {options.count / alone:6.2f} where none is loaded")
    print(f"               {options.count / loaded:6.2f} where they are loaded, {loaded / alone:.3f} of the time")
    print(f"one with LoRA  {options.count / one:6.2f} beside others without, {one / alone:.3f} of the time")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shape", choices=SHAPES, help="a model of this shape with random weights (default: the embedded model)"
    )
    parser.add_argument("--count", type=int, default=8, help="requests (8)")
    parser.add_argument("--loras", type=int, default=4, help="LoRAs (4)")
    parser.add_argument("--rank", type=int, default=8, help="of each LoRA (8)")
    parser.add_argument("--steps", type=int, default=6, help="of each request (6)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    options = parser.parse_args()
    measure(model_for(None, options.shape), model_for(None, options.shape), options)


if __name__ == "__main__":
    main()
