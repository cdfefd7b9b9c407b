"""Other engines that draw a picture with the same weights: OpenVINO GenAI and stable-diffusion.cpp.

Neither is a dependency: `open_peers` says which one is not installed.
"""

import importlib.util
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.support.shaped_models import stable_diffusion
from diffusion import ImageRequest
from diffusion.backends.openvino import PRECISIONS
from diffusion.families.model import ImageModel

Draw = Callable[[ImageRequest], object]
SAMPLERS = ("euler",)  # those that all of them have, with steps at the same timesteps


@dataclass(frozen=True)
class Peer:
    """An engine in the ``packages``; ``open`` reads a model from a folder in diffusers' layout."""

    packages: tuple[str, ...]
    open: Callable[[ImageModel, Path], Draw]

    @property
    def missing(self) -> list[str]:
        """Its packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]


def open_peers(model: ImageModel, folder: Path) -> tuple[dict[str, Draw], dict[str, str]]:
    """Return the peers that can draw with the weights of ``model``, and why the others cannot, by name.

    The weights are written to ``folder``, if there is any peer.
    """
    missing = {name: f"not installed: {' '.join(peer.missing)}" for name, peer in PEERS.items() if peer.missing}
    present = {name: peer for name, peer in PEERS.items() if not peer.missing}
    if present:
        write_diffusers_folder(model, folder)
    opened: dict[str, Draw] = {}
    for name, peer in present.items():
        try:
            opened[name] = peer.open(model, folder)
        except Exception as error:  # other versions of a package may take other arguments
            missing[name] = f"not opened: {type(error).__name__}"
    return opened, missing


def write_diffusers_folder(model: ImageModel, folder: Path) -> None:
    """Write the weights of ``model`` in diffusers' layout, with a scheduler of Euler."""
    family = stable_diffusion(model)
    for name, part in (("unet", family.unet), ("vae", family.vae), ("text_encoder", family.text_encoder)):
        part.save_pretrained(folder / name)
    family.tokenizer.save_pretrained(folder / "tokenizer")
    scheduler = dict(family.scheduler_config) | {"_class_name": "EulerDiscreteScheduler"}
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    parts = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **parts}))


class _Network(nn.Module):
    """A network that returns one tensor."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network


class _TextEncoder(_Network):
    def forward(self, input_ids: Tensor) -> Tensor:
        hidden: Tensor = self.network(input_ids)[0]
        return hidden


class _Unet(_Network):
    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        prediction: Tensor = self.network(sample, timestep, encoder_hidden_states, return_dict=False)[0]
        return prediction


class _Decoder(_Network):
    def forward(self, latent_sample: Tensor) -> Tensor:
        pixels: Tensor = self.network.decode(latent_sample, return_dict=False)[0]
        return pixels


def open_openvino_genai(model: ImageModel, folder: Path) -> Draw:
    """Convert the networks to float32 and let OpenVINO GenAI's pipeline in C++ draw in the precision of ``model``."""
    import openvino_genai

    convert_folder(folder)
    settings = {"INFERENCE_PRECISION_HINT": PRECISIONS[model.dtype], "PERFORMANCE_HINT": "LATENCY"}
    pipeline = openvino_genai.Text2ImagePipeline(folder, "CPU", **settings)

    def draw(request: ImageRequest) -> object:
        return pipeline.generate(
            request.prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            rng_seed=request.seed,
        )

    return draw


@torch.no_grad()
def convert_folder(folder: Path) -> None:
    """Add networks of OpenVINO to a folder in diffusers' layout, one network in memory at a time."""
    import openvino
    import openvino_tokenizers

    unet = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32).eval()
    side = unet.config.sample_size
    latents = torch.zeros(2, unet.config.in_channels, side, side)
    texts = torch.zeros(2, 77, unet.config.cross_attention_dim)
    timestep = torch.tensor([1])
    _convert(_Unet(unet), folder / "unet", sample=latents, timestep=timestep, encoder_hidden_states=texts)
    del unet
    vae = AutoencoderKL.from_pretrained(folder / "vae", dtype=torch.float32).eval()
    (folder / "vae_decoder").mkdir()
    shutil.copy(folder / "vae" / "config.json", folder / "vae_decoder")
    _convert(_Decoder(vae), folder / "vae_decoder", latent_sample=latents[:1])
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
    _convert(_TextEncoder(text_encoder), folder / "text_encoder", input_ids=torch.zeros(2, 77, dtype=torch.long))
    tokenizer = openvino_tokenizers.convert_tokenizer(CLIPTokenizer.from_pretrained(folder / "tokenizer"))
    openvino.save_model(tokenizer, folder / "tokenizer" / "openvino_tokenizer.xml")


def _convert(network: nn.Module, folder: Path, **inputs: Tensor) -> None:
    """Write ``network`` as OpenVINO's; all sides of its ``inputs`` but the channels and widths may vary."""
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter uses tracing, which torch calls deprecated
        converted = openvino.convert_model(network, example_input=inputs)
    openvino.save_model(converted, folder / "openvino_model.xml", compress_to_fp16=False)


def write_one_file(model: ImageModel, file: Path) -> Path:
    """Write the weights of ``model`` by diffusers' names, below the names that stable-diffusion.cpp has for the parts."""
    family = stable_diffusion(model)
    written = {}
    for part, network in {"unet": family.unet, "vae": family.vae, "te": family.text_encoder}.items():
        for name, weight in network.state_dict().items():
            full = f"text_model.{name}" if part == "te" and not name.startswith("text_model.") else name
            written[f"{part}.{full}"] = weight.contiguous()
    save_file(written, file)
    return file


def open_stable_diffusion_cpp(model: ImageModel, folder: Path) -> Draw:
    """Let stable-diffusion.cpp draw, as cyllama's wheel brings it, with weights in the precision of ``model``."""
    from cyllama import sd

    file = write_one_file(model, folder / "all.safetensors")
    weights = {torch.float32: sd.SDType.F32, torch.bfloat16: sd.SDType.BF16, torch.float16: sd.SDType.F16}[model.dtype]
    params = sd.SDContextParams(model_path=str(file), n_threads=torch.get_num_threads(), wtype=weights, vae_decode_only=True)
    params.free_params_immediately = False  # else the second picture would crash
    context = sd.SDContext(params)

    def draw(request: ImageRequest) -> object:
        return context.generate(
            request.prompt,
            width=request.width,
            height=request.height,
            sample_steps=request.steps,
            cfg_scale=request.guidance_scale,
            sample_method=sd.SampleMethod.EULER,
            seed=request.seed,
        )

    return draw


PEERS = {
    "OpenVINO GenAI": Peer(("openvino_genai", "openvino_tokenizers"), open_openvino_genai),
    "stable-diffusion.cpp": Peer(("cyllama",), open_stable_diffusion_cpp),
}
