"""Find the family of a model by its configurations, before any weights are read."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from diffusers import SchedulerMixin

from diffusion.errors import ModelLoadError
from diffusion.families.family import Family
from diffusion.families.registry import FAMILIES
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.hub import INDEX_FILE, PICKLES, Configs, fetch_configs

MODULAR_INDEX_FILE: Final = "modular_model_index.json"
SAFETENSORS: Final = (".safetensors", ".sft")
FILES: Final = (*SAFETENSORS, ".ckpt", ".pt", ".pth", ".bin", ".gguf")
LORA_FILES: Final = ("adapter_config.json", "pytorch_lora_weights.safetensors")
LORA: Final = "a LoRA, which only changes another model. Put it into a folder that LORAS names"
VAE: Final = "an autoencoder alone. The setting VAE may name it, for a model in one file that has none"
IN_GGUF: Final = "in GGUF, so it has one part of a model. The setting DENOISER may name it, and MODEL_ID the whole model"
CONTROLNET: Final = "a ControlNet, which only guides another model"
IP_ADAPTER: Final = "an IP-Adapter, which only guides another model"
IN_SAFETENSORS: Final = "Name the same model with its weights in safetensors."
EXPORTS: Final = {r"Onnx|ORT": "ONNX", r"Flax": "Flax", r"OV": "OpenVINO"}  # formats by how pipelines of theirs begin
EXPORT_FILES: Final = {".onnx": "ONNX", ".msgpack": "Flax", ".h5": "TensorFlow"}
CLASSIFIER: Final = "classifier"  # the folder of a classifier of noisy latents, which this project's own models may have
STUDENT: Final = "student"  # the folder of the network of a student, which this project's own models may have
Parts = Mapping[str, Mapping[str, Any]]


def is_single_file(source: str) -> bool:
    """Whether ``source`` names a file, existing or not, not a folder or hub id."""
    path = Path(source)
    return path.is_file() or (path.suffix.lower() in FILES and not path.is_dir())


def family_of(source: str) -> type[Family]:
    """Return the family that draws with ``source``, a folder or hub id.

    Only its configurations are read or downloaded. Raises `ModelLoadError` for a model that no family understands.
    """
    configs = fetch_configs(source)
    try:
        return _family_of(configs)
    except ValueError as error:
        raise ModelLoadError(source, str(error)) from error


def _family_of(configs: Configs) -> type[Family]:
    index = configs.read(INDEX_FILE) or {}
    pipeline = index.get("_class_name")
    if pipeline is None:
        if configs.read("unet/config.json") is None:
            raise ValueError(_describe_other(configs))
        pipeline = StableDiffusion.pipeline  # early models came without an index
    family = FAMILIES.get(str(pipeline))
    if family is None:
        raise ValueError(_describe_pipeline(str(pipeline)))
    family.check_index(index)
    _assert_parts(index, family)
    family.check_configs(_part_configs(configs, index, family))
    return family


def unsupported(kind: str) -> str:
    """Return the sentence that refuses what is ``kind``."""
    known = sorted({family.label for family in FAMILIES.values()})
    return f"it is {kind}. Supported are models of {', '.join(known)}."


def _assert_parts(index: Mapping[str, Any], family: type[Family]) -> None:
    """Raise `ValueError` for a part in ``index`` that ``family`` does not know."""
    for name, entry in index.items():
        if not isinstance(entry, list) or len(entry) != 2 or name.startswith("_"):
            continue
        kind = entry[1]
        part = family.parts.get(name)
        if part is None:
            if kind and name not in (*family.optional_parts, CLASSIFIER):
                raise ValueError(f"it has the part {name} ({kind}), which is not supported.")
        elif not kind:
            raise ValueError(f"its {name} is missing: {INDEX_FILE} names none.")
        elif not issubclass(part, SchedulerMixin) and str(kind).removesuffix("Fast") != part.__name__:
            raise ValueError(f"its {name} is of the kind {kind}, and only {part.__name__} is supported.")


def _part_configs(configs: Configs, index: Mapping[str, Any], family: type[Family]) -> dict[str, dict[str, Any]]:
    """Return the configurations of the parts by name; the scheduler's has its class."""
    found = {}
    for name, kind in family.parts.items():
        is_scheduler = issubclass(kind, SchedulerMixin)
        config = configs.read(f"{name}/{'scheduler_config' if is_scheduler else 'config'}.json")
        if config is None:
            continue  # loading it will tell
        if quantized := config.get("quantization_config"):
            method = quantized.get("quant_method", "an unknown tool") if isinstance(quantized, dict) else quantized
            raise ValueError(f"its {name} is quantized by {method}, which is not supported. Name a model in 16 or 32 bits.")
        if is_scheduler and isinstance(entry := index.get(name), list):
            config["_class_name"] = config.get("_class_name") or entry[-1]
        found[name] = config
    return found


def _describe_pipeline(name: str) -> str:
    """Return why a model for the pipeline ``name`` is refused."""
    for start, form in EXPORTS.items():
        if re.match(rf"({start})[A-Z]", name):
            return f"its weights are in {form} ({name}), which is not read. {IN_SAFETENSORS}"
    return unsupported(f"a model for {name} of diffusers")


def _describe_other(configs: Configs) -> str:
    """Return why what has no index of a pipeline is no model."""
    if modular := configs.read(MODULAR_INDEX_FILE):
        return unsupported(f"a modular model ({modular.get('_class_name') or modular.get('_blocks_class_name')})")
    if below := [name for name in configs.names if name.endswith(f"/{INDEX_FILE}")]:
        advice = "Name that folder." if configs.is_local else "Download that folder and name its path."
        return f"it has no {INDEX_FILE}, but its folder {below[0].rpartition('/')[0]} has one. {advice}"
    return _describe_files(configs) or _describe_config(configs.read("config.json") or {}) or _describe_weights(configs)


def _describe_files(configs: Configs) -> str:
    """Return what the names of files alone show; empty for nothing."""
    if any(name in configs.names for name in LORA_FILES):
        return unsupported(LORA)
    if any(re.search(r"ip[-_]adapter[\w.-]*$", name.lower()) for name in configs.names):
        return unsupported(IP_ADAPTER)
    if any(name.lower().endswith(".gguf") for name in configs.names):
        return unsupported(IN_GGUF)
    return ""


def _describe_config(config: Mapping[str, Any]) -> str:
    """Return what the ``config`` of a single network shows; empty for nothing."""
    kind = str(config.get("_class_name") or "")
    if kind == "AutoencoderKL":
        return unsupported(VAE)
    if "ControlNet" in kind:
        return unsupported(f"{CONTROLNET} ({kind})")
    if kind:
        return f"it is one part of a model ({kind}). Name the folder that holds all parts and {INDEX_FILE}."
    if kinds := config.get("architectures"):
        return unsupported(f"a model of transformers ({kinds[0]}), which draws no pictures")
    return ""


def _describe_weights(configs: Configs) -> str:
    """Return what the weights in a folder without configurations are, by their suffixes."""
    if not configs.names:
        return f"there is nothing in it. Name the folder that holds all parts of a model and {INDEX_FILE}."
    if files := [name for name in configs.names if "/" not in name and name.lower().endswith(SAFETENSORS)]:
        advice = "name the path of that file" if configs.is_local else "download that file and name its path"
        return f"it has no {INDEX_FILE}. If {files[0]} in it is a model in one file, {advice}."
    for suffix, form in EXPORT_FILES.items():
        if any(name.endswith(suffix) for name in configs.names):
            return f"its weights are in {form}, which is not read. {IN_SAFETENSORS}"
    if pickles := [name for name in configs.names if name.endswith(PICKLES)]:
        return f"there is only {pickles[0]}, a pickle: opening one can run any code, so it is not read. {IN_SAFETENSORS}"
    return f"it has no {INDEX_FILE}, so it is no model in diffusers' layout. Name the folder that holds all its parts."
