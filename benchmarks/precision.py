"""Compare the UNet's precisions on a CPU: ``python -m benchmarks.precision``.

Torch and OpenVINO run in float32, bfloat16 and 8-bit integers. For each: milliseconds per row in calls of 1, 2 and 16 rows, and
the PSNR of its pictures to those of torch in float32. Torch quantizes linear layers only. OpenVINO quantizes convolutions too,
calibrated on pictures of other prompts; that needs ``pip install nncf``.
"""

import argparse
import importlib.util
import warnings
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.limit import median_seconds
from diffusion import ImageModel, load_model
from diffusion.backends.cuda_graphs import Network
from diffusion.backends.openvino import OpenVino, compile_converted, convert
from diffusion.families.compiled import denoiser_part
from diffusion.images.difference import difference
from diffusion.training.prompts import unseen_prompts

ROWS = (1, 2, 16)
PICTURE_COUNT = 16


def torch_network(model: ImageModel, dtype: torch.dtype) -> Network:
    """Return the UNet by torch in ``dtype``."""
    unet = deepcopy(model.family.denoiser).to(dtype)

    def call(latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        prediction: Tensor = unet(latents.to(dtype), timesteps, prompt_embeds.to(dtype), return_dict=False)[0]
        return prediction.float()

    return call


def torch_int8_network(model: ImageModel) -> Network:
    """Return the UNet by torch with linear layers in 8-bit integers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that the function moves to another package
        unet = torch.ao.quantization.quantize_dynamic(deepcopy(model.family.denoiser), {nn.Linear}, dtype=torch.qint8)
    return lambda latents, timesteps, prompt_embeds: unet(latents, timesteps, prompt_embeds, return_dict=False)[0]


def converted(model: ImageModel, call: dict[str, Tensor]) -> Any:
    """Return the UNet as a network of OpenVINO that is not compiled yet."""
    part = denoiser_part(model.family, **call)
    return convert(part.copied(torch.float32), part.example)


def openvino_network(network: Any, dtype: torch.dtype) -> Network:
    """Return a converted ``network``, compiled by OpenVINO in ``dtype``."""
    compiled = OpenVino((None,), lambda _: compile_converted(network, dtype))
    return lambda latents, timesteps, **conditions: compiled(latents, timesteps, *conditions.values())


def record_calls(model: ImageModel, prompts: list[str]) -> list[dict[str, Tensor]]:
    """Return the inputs of all network calls that draw ``prompts``."""
    inputs: list[dict[str, Tensor]] = []
    network = model._network

    def record(latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        call = {"latents": latents, "timesteps": timesteps, **conditions}
        inputs.append({name: tensor.clone() for name, tensor in call.items()})
        return network(**call)

    model._network = record
    model.generate(prompts, seeds=list(range(len(prompts))), **model.teacher_settings)
    model._network = network
    return inputs


def ways(model: ImageModel, prompts: list[str]) -> Iterator[tuple[str, Network]]:
    """Yield each network with its name; pictures of ``prompts`` calibrate integers."""
    calls = record_calls(model, prompts)
    yield "torch float32", model._network
    yield "torch bfloat16", torch_network(model, torch.bfloat16)
    yield "torch int8", torch_int8_network(model)
    for dtype in (torch.float32, torch.bfloat16):
        yield f"openvino {str(dtype).removeprefix('torch.')}", openvino_network(converted(model, calls[0]), dtype)
    if importlib.util.find_spec("nncf"):
        import nncf

        examples = nncf.Dataset([[np.asarray(tensor) for tensor in call.values()] for call in calls], lambda call: call)
        for name, kind in (("int8", None), ("int8 as for transformers", nncf.ModelType.TRANSFORMER)):
            quantized = nncf.quantize(converted(model, calls[0]), examples, subset_size=len(calls), model_type=kind)
            yield f"openvino {name}", openvino_network(quantized, torch.float32)


def measure(model: ImageModel, repeats: int) -> None:
    """Print a line for each way."""
    prompts = [shown.prompt for shown in unseen_prompts()]
    calibration_prompts = prompts[1::5][: max(ROWS) // 2]
    test_prompts = prompts[::5][:PICTURE_COUNT]
    call = record_calls(model, calibration_prompts)[0]
    reference = model.generate(test_prompts, seeds=list(range(len(test_prompts))), **model.teacher_settings)
    print(f"{model.name}, ms per row with {', '.join(map(str, ROWS))} rows, medians of {repeats}; {len(test_prompts)} pictures")
    for name, network in ways(model, calibration_prompts):
        with torch.inference_mode():
            timed = {
                rows: partial(network, **{key: tensor[:rows].contiguous() for key, tensor in call.items()}) for rows in ROWS
            }
            cells = "".join(
                f"{1000 * median_seconds(call_rows, repeats, model.device) / rows:8.2f}" for rows, call_rows in timed.items()
            )
        model._network = network
        pictures = model.generate(test_prompts, seeds=list(range(len(test_prompts))), **model.teacher_settings)
        psnrs = [difference(picture, first)[1] for picture, first in zip(pictures, reference, strict=True)]
        print(f"{name:34}{cells}   PSNR median {median(psnrs):.1f}, worst {min(psnrs):.1f} dB", flush=True)


def main() -> None:
    """Measure with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    measure(load_model(options.model, "cpu", torch.float32), options.repeats)


if __name__ == "__main__":
    main()
