"""Load a model: find its family, load its parts and move them to a device."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from diffusion.errors import ModelLoadError
from diffusion.families.classifier import NoisyLatentClassifier
from diffusion.families.defaults import DEFAULTS_FILE, Defaults, read_defaults
from diffusion.families.family import Family
from diffusion.families.model import ImageModel
from diffusion.families.spec import Origin
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.budget import Plan, plan
from diffusion.loading.device import best_device, best_dtype, why_not_loaded
from diffusion.loading.folder import PRETRAINED, empty_network, load_folder, load_network, networks_of
from diffusion.loading.gguf_file import TRANSFORMER, load_gguf
from diffusion.loading.hub import fetch, fetch_texts
from diffusion.loading.index import CLASSIFIER, STUDENT, family_of, is_single_file
from diffusion.loading.placement import LoadNetwork, Placement
from diffusion.loading.single_file import family_of_file, load_checkpoint, titles_of
from diffusion.sampling.classifier_guidance import ClassifierGuidance


@dataclass
class LoadedParts:
    """The ``parts`` of a model by their names in the constructor of its ``family``.

    The parts are on their device.
    """

    family: type[Family]
    parts: dict[str, Any]
    name: str
    defaults: Defaults | None = None
    classifier: NoisyLatentClassifier | None = None
    student: UNet2DConditionModel | None = None


def load_model(
    source: str | Path | None = None,
    device: str | Placement | None = None,
    dtype: torch.dtype | None = None,
    attention: str | None = None,
    *,
    vae: str | None = None,
    denoiser: str | None = None,
) -> ImageModel:
    """Load a model from a folder or hub id in diffusers' layout, or from one file.

    The weights must be safetensors. Defaults: the embedded model; CUDA before MPS before the CPU; half precision where the
    device is good at it; torch's own attention (the other is "xformers"). ``vae`` is the folder, hub id or file of an
    autoencoder for a model in one file that has none. ``denoiser`` is a file in GGUF, whose transformer draws in place of the
    model's. A `Placement` for ``device`` saves memory there (`plan_model`). Raises
    `ModelLoadError` with the reason.
    """
    # The thread ends after loading, because an OpenMP team that stays behind halves the speed of other threads.
    with ThreadPoolExecutor(1) as loader:
        model = loader.submit(_load_model, str(source or PRETRAINED), device, dtype, attention, vae, denoiser).result()
    model.origin = Origin(str(source or PRETRAINED), vae)
    return model


def describe_model(
    source: str | Path | None = None,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    *,
    vae: str | None = None,
    denoiser: str | None = None,
) -> ImageModel:
    """Return the model that `load_model` loads, with networks without weights: it validates requests and draws none.

    Only configurations, tokenizers and headers are read or downloaded. Raises `ModelLoadError`.
    """
    source = str(source or PRETRAINED)
    with _quiet_libraries(source):
        precision = dtype or best_dtype(torch.device(device or best_device()))
        loaded = _load_source(source, precision, vae, denoiser, None)
    return _build(source, loaded)


def plan_model(
    source: str | Path | None,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    *,
    vae: str | None = None,
    denoiser: str | None = None,
    max_bytes: int | None = None,
) -> Plan:
    """Describe a model, and choose how `load_model` loads it so that it fits into ``max_bytes`` (None: what ``device`` has).

    Raises `ModelLoadError` for a model that does not fit, before a weight is read or downloaded.
    """
    return plan_of(describe_model(source, device, dtype, vae=vae, denoiser=denoiser), source, device, max_bytes)


def plan_of(described: ImageModel, source: str | Path | None, device: str | None, max_bytes: int | None) -> Plan:
    """Return what `plan_model` does for a model that is ``described``."""
    return plan(described, str(source or described.name), torch.device(device or best_device()), max_bytes)


def _load_model(
    source: str,
    device: str | Placement | None,
    dtype: torch.dtype | None,
    attention: str | None,
    vae: str | None,
    denoiser: str | None,
) -> ImageModel:
    with _quiet_libraries(source):
        placement = _placement(device)
    return _build(source, load_parts(source, placement, dtype, attention, vae=vae, denoiser=denoiser), placement)


def _placement(device: str | Placement | None) -> Placement:
    return device if isinstance(device, Placement) else Placement(torch.device(device or best_device()))


def _build(source: str, loaded: LoadedParts, placement: Placement | None = None) -> ImageModel:
    try:
        family = loaded.family(**loaded.parts)
        if placement:
            placement.finish(family)
        classifier = loaded.classifier and classifier_guidance_of(loaded.classifier, family)
        if loaded.student is not None:
            check_student(loaded.student, family)
        model = ImageModel(family, name=loaded.name, defaults=loaded.defaults, classifier=classifier, student=loaded.student)
        if model.defaults.sampler not in model.samplers:
            raise ValueError(
                f"its default sampler {model.defaults.sampler} does not suit it. Name one of {', '.join(family.samplers)}"
                f" in {DEFAULTS_FILE}."
            )
        return model
    except ModelLoadError:
        raise
    except Exception as error:
        raise ModelLoadError(source, why_not_loaded(error)) from error


def load_parts(
    source: str,
    device: str | Placement | None = None,
    dtype: torch.dtype | None = None,
    attention: str | None = None,
    *,
    vae: str | None = None,
    denoiser: str | None = None,
) -> LoadedParts:
    """Load the parts of ``source`` one by one; raises `ModelLoadError`."""
    with _quiet_libraries(source):
        placement = _placement(device)
        loaded = _load_source(source, dtype or best_dtype(placement.device), vae, denoiser, placement)
        if attention == "xformers":
            _use_xformers(networks_of(loaded.parts | {STUDENT: loaded.student}))
    return loaded


@contextmanager
def _quiet_libraries(source: str) -> Iterator[None]:
    """Raise the errors of the libraries that load ``source`` as `ModelLoadError`, and hide their warnings."""
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries' warnings about each other do not help the operator
            yield
    except ModelLoadError:
        raise
    except Exception as error:  # libraries raise anything for a model that they cannot load
        raise ModelLoadError(source, why_not_loaded(error)) from error


def classifier_guidance_of(network: NoisyLatentClassifier, family: Family) -> ClassifierGuidance:
    """Return guidance of ``family`` by the classifier ``network``.

    Raises `ValueError` if their latents differ.
    """
    if type(family) is not StableDiffusion:  # families that derive from it have other noise schedules
        raise ValueError("only Stable Diffusion 1 and 2 can be guided by a classifier")
    if network.config.in_channels != family.latent_channels:
        raise ValueError(
            f"its classifier reads {network.config.in_channels} latent channels and its UNet makes {family.latent_channels}"
        )
    return ClassifierGuidance(network, family.alpha_bar, family.prediction_type)


def check_student(network: UNet2DConditionModel, family: Family) -> None:
    """Raise `ValueError` if ``network`` is no student of ``family``."""
    if type(family) is not StableDiffusion or family.prediction_type != "v_prediction":
        raise ValueError(f"only Stable Diffusion 1 and 2 with v-prediction can have a {STUDENT}")
    for name in ("in_channels", "sample_size", "cross_attention_dim"):
        own, wanted = network.config[name], family.denoiser.config[name]
        if own != wanted:
            raise ValueError(f"its {STUDENT} has the {name} {own} and its UNet {wanted}")


def _load_source(
    source: str, dtype: torch.dtype, vae: str | None, denoiser: str | None, placement: Placement | None
) -> LoadedParts:
    """Load ``source``, each part in its place before the next is read; without ``placement`` only describe it."""
    path = Path(source)
    empty = placement is None
    if is_single_file(source):
        if denoiser:
            raise ValueError("DENOISER is for a folder or hub id in diffusers' layout, and MODEL_ID names a file.")
        family: type[Family] = family_of_file(path)
        parts = load_checkpoint(path, dtype, vae, empty=empty)
        _upcast_autoencoder(parts, dtype)
        for name, network in networks_of(parts).items():
            if placement:
                placement.place(name, network)
        return LoadedParts(family, parts, path.stem, _defaults(path, family, parts, titles_of(path)))
    family = family_of(source)
    if dtype == torch.float16 and not family.fits_float16:
        dtype = torch.bfloat16
    folders = (*family.parts, CLASSIFIER, STUDENT)
    replaced = (TRANSFORMER,) if denoiser else ()
    folder = fetch_texts(source, folders) if empty else fetch(source, folders, dtype != torch.float32, without_weights=replaced)
    load: LoadNetwork = empty_network if empty else load_network
    if denoiser:
        load = _with_denoiser(load, Path(denoiser), family, empty)
    if placement:
        load = placement.loading(load)
    classifier = None
    if (folder / CLASSIFIER).is_dir():
        classifier = load(NoisyLatentClassifier, folder, CLASSIFIER, torch.float32)
    name = "darkroom-embedded" if path == PRETRAINED else path.name
    parts = load_folder(family, folder, dtype, load, without_weights=family.parts if empty else replaced)
    _upcast_autoencoder(parts, dtype)
    defaults = _defaults(folder, family, parts, (path.name if path.is_dir() else source,))
    student = load(UNet2DConditionModel, folder, STUDENT, dtype) if defaults.student else None
    return LoadedParts(family, parts, name, defaults, classifier, student)


def _with_denoiser(load: LoadNetwork, path: Path, family: type[Family], empty: bool) -> LoadNetwork:
    """Return ``load``, which takes the transformer of ``family`` from the file ``path``; raises `ValueError`."""
    if TRANSFORMER not in family.parts:
        raise ValueError(f"DENOISER is for models with a transformer, and {family.label} has none. Leave it empty.")

    def load_part(kind: Any, folder: Path, name: str, dtype: torch.dtype) -> Any:
        return load_gguf(path, family, folder, dtype, empty=empty) if name == TRANSFORMER else load(kind, folder, name, dtype)

    return load_part


def _upcast_autoencoder(parts: Mapping[str, Any], dtype: torch.dtype) -> None:
    """Let an autoencoder compute in float32 whose configuration says that it overflows in fp16."""
    autoencoder = parts.get("vae")
    if dtype == torch.float16 and autoencoder is not None and autoencoder.config.get("force_upcast"):
        autoencoder.float()


def _defaults(source: Path, family: type[Family], parts: Mapping[str, Any], names: Iterable[str]) -> Defaults:
    """Return the defaults of a model that is called ``names``; its own file overrides what they suggest."""
    configs: dict[str, Any] = {name: network.config for name, network in networks_of(parts).items()}
    index = {name: parts[name] for name in family.index_settings if name in parts}
    configs |= {"scheduler": parts["scheduler_config"], "index": index}
    return read_defaults(source, family.suggest_defaults(names, configs))


def _use_xformers(networks: dict[str, Any]) -> None:
    denoisers = [networks[name] for name in ("unet", "transformer", STUDENT) if name in networks]
    try:
        for denoiser in denoisers:
            denoiser.enable_xformers_memory_efficient_attention()
    except (ImportError, ValueError) as error:
        reason = "xformers needs CUDA and its package (pip install -e '.[gpu]'). Without ATTENTION, torch's own is used."
        raise ValueError(reason) from error
    except NotImplementedError as error:  # its package is there, its kernels are not
        reason = (
            "xformers has no kernels for this GPU and this torch: `python -m xformers.info` shows what it was built for. "
            "Without ATTENTION, torch's own is used."
        )
        raise ValueError(reason) from error
