"""How the UNet is called fastest on a CPU, and what that does to pictures: ``python -m benchmarks.precision``.

Torch and OpenVINO in float32, in bfloat16 and with integers of 8 bits: for each, milliseconds a row in calls of 1, 2 and 16
rows, and how near its pictures come to those of torch in float32 (PSNR). Torch has integers in linear layers alone, OpenVINO
in convolutions, too, with ``pip install nncf`` and in ranges measured on pictures of other prompts.
"""

import argparse
import importlib.util
import warnings
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.limit import seconds
from diffusion import StableDiffusion
from diffusion.backends.cuda_graphs import Network
from diffusion.backends.openvino import convert, ready
from diffusion.images.difference import difference
from diffusion.training.prompts import unseen_prompts

ROWS, PICTURES = (1, 2, 16), 16


def in_dtype(model: StableDiffusion, dtype: torch.dtype) -> Network:
    """Give torch's own calls in ``dtype``."""
    unet = deepcopy(model.unet).to(dtype)
    return lambda latents, timesteps, embeds: unet(latents.to(dtype), timesteps, embeds.to(dtype), return_dict=False)[0].float()


def with_integers(model: StableDiffusion) -> Network:
    """Give torch's calls with linear layers in integers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch moves this to another package
        unet = torch.ao.quantization.quantize_dynamic(deepcopy(model.unet), {nn.Linear}, dtype=torch.qint8)
    return lambda latents, timesteps, embeds: unet(latents, timesteps, embeds, return_dict=False)[0]


def calls_of(model: StableDiffusion, prompts: list[str]) -> list[tuple[Tensor, ...]]:
    """Record what the network is asked for pictures of ``prompts``."""
    asked, ask = [], model._ask

    def recording(*inputs: Tensor) -> Tensor:
        asked.append(tuple(tensor.clone() for tensor in inputs))
        return ask(*inputs)

    model._ask = recording
    model.generate(prompts, seeds=list(range(len(prompts))))
    model._ask = ask
    return asked


def ways(model: StableDiffusion, prompts: list[str]) -> Iterator[tuple[str, Network]]:
    """Yield each way with its name; pictures of ``prompts`` give integers their ranges."""
    calls = calls_of(model, prompts)
    yield "torch float32", model._ask
    yield "torch bfloat16", in_dtype(model, torch.bfloat16)
    yield "torch int8", with_integers(model)
    for dtype in (torch.float32, torch.bfloat16):
        yield f"openvino {str(dtype).removeprefix('torch.')}", ready(convert(model.unet, *calls[0]), dtype)
    if importlib.util.find_spec("nncf"):
        import nncf

        examples = nncf.Dataset([[np.asarray(tensor) for tensor in call] for call in calls], lambda call: call)
        for name, kind in (("int8", None), ("int8 as for transformers", nncf.ModelType.TRANSFORMER)):
            quantized = nncf.quantize(convert(model.unet, *calls[0]), examples, subset_size=len(calls), model_type=kind)
            yield f"openvino {name}", ready(quantized, torch.float32)


def measure(model: StableDiffusion, repeats: int) -> None:
    """Print a line for each way."""
    prompts = [shown.prompt for shown in unseen_prompts()]
    for_ranges, others = prompts[1::5][: max(ROWS) // 2], prompts[::5][:PICTURES]
    call, reference = calls_of(model, for_ranges)[0], model.generate(others, seeds=list(range(len(others))))
    print(f"{model.name}, ms a row with {', '.join(map(str, ROWS))} rows, medians of {repeats}; {len(others)} pictures")
    for name, ask in ways(model, for_ranges):
        with torch.inference_mode():
            timed = {rows: partial(ask, *(tensor[:rows].contiguous() for tensor in call)) for rows in ROWS}
            each = "".join(f"{1000 * seconds(one, repeats, model.device) / rows:8.2f}" for rows, one in timed.items())
        model._ask = ask
        pictures = model.generate(others, seeds=list(range(len(others))))
        nearness = [difference(picture, first)[1] for picture, first in zip(pictures, reference, strict=True)]
        print(f"{name:34}{each}   PSNR median {median(nearness):.1f}, worst {min(nearness):.1f} dB", flush=True)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    measure(StableDiffusion.from_pretrained(options.model, "cpu", torch.float32), options.repeats)


if __name__ == "__main__":
    main()
