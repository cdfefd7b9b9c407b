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
from diffusion import ImageModel, load_model
from diffusion.backends.cuda_graphs import Network
from diffusion.backends.openvino import convert, ready
from diffusion.images.difference import difference
from diffusion.training.prompts import unseen_prompts

ROWS, PICTURES = (1, 2, 16), 16


def in_dtype(model: ImageModel, dtype: torch.dtype) -> Network:
    """Return torch's own calls in ``dtype``."""
    unet = deepcopy(model.family.denoiser).to(dtype)

    def call(latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        prediction: Tensor = unet(latents.to(dtype), timesteps, prompt_embeds.to(dtype), return_dict=False)[0]
        return prediction.float()

    return call


def with_integers(model: ImageModel) -> Network:
    """Return torch's calls with linear layers in integers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch moves this to another package
        unet = torch.ao.quantization.quantize_dynamic(deepcopy(model.family.denoiser), {nn.Linear}, dtype=torch.qint8)
    return lambda latents, timesteps, prompt_embeds: unet(latents, timesteps, prompt_embeds, return_dict=False)[0]


def calls_of(model: ImageModel, prompts: list[str]) -> list[dict[str, Tensor]]:
    """Record what the network is asked for pictures of ``prompts``."""
    inputs: list[dict[str, Tensor]] = []
    network = model._network

    def recording(latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        call = {"latents": latents, "timesteps": timesteps, **conditions}
        inputs.append({name: tensor.clone() for name, tensor in call.items()})
        return network(**call)

    model._network = recording
    model.generate(prompts, seeds=list(range(len(prompts))))
    model._network = network
    return inputs


def ways(model: ImageModel, prompts: list[str]) -> Iterator[tuple[str, Network]]:
    """Yield each way with its name; pictures of ``prompts`` give integers their ranges."""
    calls = calls_of(model, prompts)
    yield "torch float32", model._network
    yield "torch bfloat16", in_dtype(model, torch.bfloat16)
    yield "torch int8", with_integers(model)
    for dtype in (torch.float32, torch.bfloat16):
        yield f"openvino {str(dtype).removeprefix('torch.')}", ready(convert(model.family, **calls[0]), dtype)
    if importlib.util.find_spec("nncf"):
        import nncf

        examples = nncf.Dataset([[np.asarray(tensor) for tensor in call.values()] for call in calls], lambda call: call)
        for name, kind in (("int8", None), ("int8 as for transformers", nncf.ModelType.TRANSFORMER)):
            quantized = nncf.quantize(convert(model.family, **calls[0]), examples, subset_size=len(calls), model_type=kind)
            yield f"openvino {name}", ready(quantized, torch.float32)


def measure(model: ImageModel, repeats: int) -> None:
    """Print a line for each way."""
    prompts = [shown.prompt for shown in unseen_prompts()]
    for_ranges, others = prompts[1::5][: max(ROWS) // 2], prompts[::5][:PICTURES]
    call, reference = calls_of(model, for_ranges)[0], model.generate(others, seeds=list(range(len(others))))
    print(f"{model.name}, ms a row with {', '.join(map(str, ROWS))} rows, medians of {repeats}; {len(others)} pictures")
    for name, ask in ways(model, for_ranges):
        with torch.inference_mode():
            timed = {rows: partial(ask, **{key: tensor[:rows].contiguous() for key, tensor in call.items()}) for rows in ROWS}
            each = "".join(f"{1000 * seconds(one, repeats, model.device) / rows:8.2f}" for rows, one in timed.items())
        model._network = ask
        pictures = model.generate(others, seeds=list(range(len(others))))
        nearness = [difference(picture, first)[1] for picture, first in zip(pictures, reference, strict=True)]
        print(f"{name:34}{each}   PSNR median {median(nearness):.1f}, worst {min(nearness):.1f} dB", flush=True)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    measure(load_model(options.model, "cpu", torch.float32), options.repeats)


if __name__ == "__main__":
    main()
