"""Stable Diffusion 1, 2 and XL in one file, in the layout of their first release."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffusion.families.distilled import TURBO
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.families.stable_diffusion_xl import StableDiffusionXL
from diffusion.loading.file_kind import UNET, check_format, describe
from diffusion.loading.folder import empty_network, load_network
from diffusion.loading.hub import fetch, fetch_configs
from diffusion.loading.index import is_single_file
from diffusion.loading.single_file_settings import BASE_STEPS, read_settings

PUBLISHED: Final = Path(__file__).parents[1] / "published"  # configurations and vocabulary, which such a file lacks
KIND_BY_PREFIX: Final = {
    "cond_stage_model.transformer.": "sd1",
    "cond_stage_model.model.": "sd2",
    "conditioner.embedders.1.model.": "sdxl",
}  # by the prefix of the text encoder's tensors
FAMILY_BY_KIND: Final[dict[str, type[StableDiffusion]]] = {
    "sd1": StableDiffusion,
    "sd2": StableDiffusion,
    "sdxl": StableDiffusionXL,
}
LABELS: Final = {"sd1": "Stable Diffusion 1", "sd2": "Stable Diffusion 2", "sdxl": "Stable Diffusion XL"}
PAD_TOKENS: Final = {"sd1": ("<|endoftext|>",), "sd2": ("!",), "sdxl": ("<|endoftext|>", "!")}  # of each tokenizer
EDM_SCALING_FACTOR: Final = 0.5  # of the autoencoder of Playground 2.5, whose file holds its mean and deviation
VAE_PREFIXES: Final = ("first_stage_model.", "vae.")
OLD_CLIP: Final = re.compile(r"^(cond_stage_model\.transformer\.)(?=embeddings\.|encoder\.|final_layer_norm\.)")
NEEDS_FOLDER: Final = "Use such a model as a folder or hub id in diffusers' layout."
NO_VAE: Final = (
    "it has no autoencoder (VAE), as many pruned files. Set VAE to one:"
    " a folder or hub id in diffusers' layout, or a safetensors file."
)


def family_of_file(path: Path) -> type[StableDiffusion]:
    """Return the family of the safetensors file ``path``; raises `ValueError`."""
    shapes, _, _ = _read_header(path)
    return FAMILY_BY_KIND[_kind(shapes)]


def load_checkpoint(
    path: Path, dtype: torch.dtype, vae: str | None = None, published: Path = PUBLISHED, *, empty: bool = False
) -> dict[str, Any]:
    """Load the parts in the safetensors file ``path``, without downloads.

    With ``empty``, only the header is read, and the networks are on the meta device.

    The configurations come from ``published``. What lies in and beside the file may name another size or kind of prediction
    than the published ones of Stable Diffusion 1 (512 pixels, epsilon), 2 (768 pixels, v) and XL (1024 pixels, epsilon). If
    the file has no autoencoder, ``vae`` names one: a folder, hub id or file. Raises `ValueError`, `OSError` or
    `ModelLoadError` with the reason.
    """
    shapes, metadata, global_step = _read_header(path)
    kind = _kind(shapes)
    config = published / kind
    unet_config = UNet2DConditionModel.load_config(config, subfolder="unet")
    family = FAMILY_BY_KIND[kind]
    family.check_configs({"unet": _told_by_shapes(unet_config, shapes)})
    has_vae = any(name.startswith(VAE_PREFIXES) for name in shapes)
    if not has_vae and not vae:
        raise ValueError(NO_VAE)
    if TURBO.words.search(path.stem.lower()):  # SD-Turbo was made of Stable Diffusion 2.1 base
        global_step = BASE_STEPS[1]
    settings = read_settings(path, shapes, metadata, global_step=global_step if kind == "sd2" else None)
    tensors = dict.fromkeys(shapes) if empty else load_file(path)
    weights: dict[str, Any] = {OLD_CLIP.sub(r"\1text_model.", name): weight for name, weight in tensors.items()}
    load = _load_empty if empty else _load
    unet = load(UNet2DConditionModel, "unet", weights, config, dtype)
    if settings.side:
        unet.register_to_config(sample_size=settings.side // 8)
    scheduler = dict(DDIMScheduler.load_config(config, subfolder="scheduler"))
    parts = {"unet": unet, "scheduler_config": scheduler | settings.scheduler}
    pad_tokens = iter(PAD_TOKENS[kind])
    for name, network in family.parts.items():
        if issubclass(network, CLIPTokenizer):
            parts[name] = CLIPTokenizer.from_pretrained(PUBLISHED / "tokenizer", pad_token=next(pad_tokens))
        elif issubclass(network, (CLIPTextModel, CLIPTextModelWithProjection)):
            parts[name] = (_load_empty if empty else _load_text_encoder)(network, name, weights, config, dtype)
    is_here = has_vae or empty
    parts["vae"] = load(AutoencoderKL, "vae", weights, config, dtype) if is_here else load_vae(str(vae), dtype, config)
    if empty:
        return parts
    if {"edm_mean", "edm_std"} <= weights.keys():
        statistics = {f"latents_{name}": weights[f"edm_{name}"].flatten().tolist() for name in ("mean", "std")}
        parts["vae"].register_to_config(**statistics, scaling_factor=EDM_SCALING_FACTOR)
    elif not has_vae:
        _assert_scaling(parts["vae"], str(vae), config)
    return parts


def titles_of(path: Path) -> tuple[str, ...]:
    """Return the names of the model in the file ``path``: the file's, and that in its metadata."""
    return path.stem, _read_header(path)[1].get("modelspec.title", "")


def load_vae(source: str, dtype: torch.dtype, config: Path = PUBLISHED / "sd1") -> Any:
    """Load an autoencoder from a folder, hub id or safetensors file.

    Raises `ValueError`, `OSError` or `ModelLoadError` with the reason.
    """
    if is_single_file(source):
        path = Path(source)
        shapes, _, _ = _read_header(path)
        if not any("decoder.conv_in.weight" in name for name in shapes):
            raise ValueError(f"VAE names {path.name}, which has no autoencoder.")
        weights = {name: weight for name, weight in load_file(path).items() if not name.startswith(UNET)}
        if not any(name.startswith(VAE_PREFIXES) for name in weights):
            if any("down_blocks" in name for name in weights):
                raise ValueError(f"VAE names {path.name}, a file of diffusers' layout. Name the folder that holds it.")
            weights = {f"{VAE_PREFIXES[0]}{name}": weight for name, weight in weights.items()}
        return _load(AutoencoderKL, "vae", weights, config, dtype)
    half = dtype != torch.float32
    configs = fetch_configs(source)
    folder = "vae" if configs.read("vae/config.json") else ""
    kind = (configs.read(f"{folder}/config.json".lstrip("/")) or {}).get("_class_name")
    if kind != AutoencoderKL.__name__:
        raise ValueError(f"VAE names {source}, which has no {AutoencoderKL.__name__}.")
    return load_network(AutoencoderKL, fetch(source, (folder,), half), folder, dtype)


def _read_header(path: Path) -> tuple[dict[str, list[int]], dict[str, str], int | None]:
    """Return the shapes of the tensors in ``path``, its metadata and its global step."""
    check_format(path)
    try:
        with safe_open(path, "pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  # it is no dictionary
            step = file.get_tensor("global_step") if "global_step" in shapes else torch.empty(0)
            return shapes, file.metadata() or {}, int(step) if step.numel() == 1 else None
    except SafetensorError as error:
        raise ValueError(f"it is no complete safetensors file ({error}). Copy or download it again.") from error


def _kind(names: Collection[str]) -> str:
    for prefix, kind in KIND_BY_PREFIX.items():
        if any(name.startswith(prefix) for name in names) and any(name.startswith(UNET) for name in names):
            return kind
    raise ValueError(describe(names))


def _told_by_shapes(config: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    """Return the UNet's ``config`` with what the shapes of its tensors show."""
    told = dict(config)
    if first := shapes.get(f"{UNET}input_blocks.0.0.weight"):
        told["in_channels"] = first[1]
    if last := shapes.get(f"{UNET}out.2.weight"):
        told["out_channels"] = last[0]
    label = shapes.get(f"{UNET}label_emb.0.0.weight")
    if label and not told.get("addition_embed_type"):
        told["class_embed_type"] = f"of {label[-1]} numbers"
    if f"{UNET}time_embedding.cond_proj.weight" in shapes or f"{UNET}time_embed.cond_proj.weight" in shapes:
        raise ValueError(f"its UNet takes the guidance scale, as latent consistency models do. {NEEDS_FOLDER}")
    return told


def _load(network: Any, name: str, weights: dict[str, Tensor], config: Path, dtype: torch.dtype) -> Any:
    """Load the part ``name`` from the tensors of a whole file."""
    try:
        # A copy of the dictionary, as converting empties it. One part after the other takes its tensors.
        loaded = network.from_single_file(dict(weights), config=str(config), subfolder=name, dtype=dtype, local_files_only=True)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"its {name} is not that of {_label(config)} ({_mismatch(error)}).") from error
    _assert_complete(loaded, name)
    return loaded


def _load_empty(network: Any, name: str, weights: dict[str, Tensor], config: Path, dtype: torch.dtype) -> Any:
    """Build the part ``name`` of such a file on the meta device."""
    return empty_network(network, config, name, dtype)


def _load_text_encoder(network: Any, name: str, weights: dict[str, Tensor], config: Path, dtype: torch.dtype) -> Any:
    try:
        loaded = create_diffusers_clip_model_from_ldm(
            network, dict(weights), name, str(config), torch_dtype=dtype, local_files_only=True
        )
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"its {name} is not that of {_label(config)} ({_mismatch(error)}).") from error
    _assert_complete(loaded, name)
    return loaded


def _assert_scaling(vae: Any, source: str, config: Path) -> None:
    """Raise `ValueError` for an autoencoder of another family, whose pictures would be noise."""
    expected = AutoencoderKL.load_config(config, subfolder="vae")["scaling_factor"]
    if vae.config.scaling_factor != expected:
        raise ValueError(
            f"VAE names {source}, which is not for {_label(config)}:"
            f" its scaling_factor is {vae.config.scaling_factor}, and {expected} is needed."
        )


def _assert_complete(network: Any, name: str) -> None:
    """Raise `ValueError` for weights that the file does not have."""
    if missing := [each for each, parameter in network.named_parameters() if parameter.is_meta]:
        raise ValueError(f"{missing[0]} of its {name} and {len(missing) - 1} more are missing.")


def _label(config: Path) -> str:
    return LABELS.get(config.name, config.name)


def _mismatch(error: Exception) -> str:
    """Return the first tensor that does not fit, without the library's advice."""
    found = re.search(r"[\w.]+ expected shape [^.]*", str(error))
    text = found[0] if found else str(error).strip().partition("\n")[0]
    return text.strip(" .") or type(error).__name__
