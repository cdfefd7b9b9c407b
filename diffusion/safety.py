"""Screen finished images for unsafe content with a network."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, CLIPImageProcessorPil
from transformers.utils import logging as transformers_logging

from diffusion.errors import GenerationError, ModelLoadError
from diffusion.images.screening import SCREENED_AT_ONCE, shrink_for_screening
from diffusion.loading.device import best_device, best_dtype, why_not_loaded
from diffusion.loading.hub import fetch, variant_of
from diffusion.result import Flags

UNSAFE: Final = "unsafe"  # the only label of a model's own checker
NONE: Final = "none"


class SafetyCheck(Protocol):
    """Returns the labels for which each image is flagged.

    Call it from one thread at a time, in `torch.inference_mode`.
    """

    def __call__(self, images: Sequence[Image.Image]) -> list[Flags]: ...  # noqa: D102


class ModelChecker:
    """The safety checker of a Stable Diffusion model; it has a single label."""

    def __init__(self, network: StableDiffusionSafetyChecker, processor: CLIPImageProcessorPil) -> None:
        self.network = network.eval()
        self.processor = processor

    def __call__(self, images: Sequence[Image.Image]) -> list[Flags]:
        """Flag with one label, with a score of 1."""
        pixels = self.processor(images=list(images), return_tensors="pt").pixel_values
        blackened = np.zeros((len(images), 1, 1, 3))  # a placeholder for the images, because the network blackens flagged ones
        _, found = self.network(clip_input=pixels.to(self.network.device, self.network.dtype), images=blackened)
        return [{UNSAFE: 1.0} if flagged else {} for flagged in found]


class Classifier:
    """An image classifier with ``unsafe`` labels.

    A score of ``threshold`` or more for one of them flags an image.
    """

    def __init__(self, network: Any, processor: Any, unsafe: Sequence[str], threshold: float) -> None:
        self.network = network.eval()
        self.processor = processor
        self.threshold = threshold
        labels = {label.lower(): index for index, label in network.config.id2label.items()}
        self.unsafe = {label: labels[label.lower()] for label in unsafe}

    def __call__(self, images: Sequence[Image.Image]) -> list[Flags]:
        """Flag by probability; raises `GenerationError` if the output is not finite."""
        pixels = self.processor(images=list(images), return_tensors="pt").pixel_values
        logits = self.network(pixels.to(self.network.device, self.network.dtype)).logits.float()
        several = self.network.config.problem_type == "multi_label_classification"
        scores = logits.sigmoid() if several else logits.softmax(1)
        if not scores.isfinite().all():
            raise GenerationError("These pictures could not be checked, so I cannot show them.")
        return [
            {label: row[index] for label, index in self.unsafe.items() if row[index] >= self.threshold}
            for row in scores.tolist()
        ]


def screen(check: SafetyCheck, images: Sequence[Image.Image]) -> list[Flags]:
    """Screen any number of ``images``, a few at a time."""
    flags: list[Flags] = []
    with torch.inference_mode():
        for start in range(0, len(images), SCREENED_AT_ONCE):
            flags += check([shrink_for_screening(image) for image in images[start : start + SCREENED_AT_ONCE]])
    return flags


def load_safety_check(
    model: str | None = None,
    classifier: str | None = None,
    unsafe: Sequence[str] = (),
    threshold: float = 0.5,
    device: str | None = None,
) -> SafetyCheck | None:
    """Load the ``classifier`` of a folder or hub id, or the checker of ``model``.

    Return None if there is none, or if ``classifier`` is "none". Safetensors only. Raises `ModelLoadError`.
    """
    source = classifier or model
    if source is None or source == NONE:
        return None
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with ThreadPoolExecutor(1) as loader:  # ends afterwards, for the same reason as in `load_model`
        try:
            if classifier:
                return loader.submit(_load_classifier, classifier, unsafe, threshold, device).result()
            return loader.submit(_load_own, source, device).result()
        except ModelLoadError:
            raise
        except Exception as error:  # libraries raise anything for a network that they cannot load
            raise ModelLoadError(source, why_not_loaded(error)) from error


def _load_classifier(source: str, unsafe: Sequence[str], threshold: float, device: str | None) -> Classifier:
    folder = fetch(source, ("",), is_half(device))
    network = load_from_transformers(AutoModelForImageClassification, folder, device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processor = AutoImageProcessor.from_pretrained(folder)
    labels = list(network.config.id2label.values())
    known = {label.lower() for label in labels}
    unknown = [label for label in unsafe if label.lower() not in known]
    if unknown or not unsafe:
        wrong = f"SAFETY_LABELS has {', '.join(unknown)}" if unknown else "SAFETY_LABELS is empty"
        raise ValueError(f"{wrong}. Name those of its labels that are unsafe: {', '.join(labels)}")
    return Classifier(network, processor, unsafe, threshold)


def _load_own(source: str, device: str | None) -> ModelChecker | None:
    if Path(source).is_file():  # a model in one file has no checker
        return None
    folder = fetch(source, ("safety_checker", "feature_extractor"), is_half(device))
    if not (folder / "safety_checker" / "config.json").exists():  # removed, or a model without a checker
        return None
    network = load_from_transformers(StableDiffusionSafetyChecker, folder, device, "safety_checker")
    return ModelChecker(network, CLIPImageProcessorPil.from_pretrained(folder, subfolder="feature_extractor"))


def is_half(device: str | None) -> bool:
    """Return whether networks are computed in half precision on ``device``."""
    return best_dtype(torch.device(device or best_device())) != torch.float32


def load_from_transformers(network: Any, folder: Path, device: str | None, name: str = "") -> Any:
    """Load a ``network`` of transformers from safetensors; raises `ValueError` if weights are missing."""
    target = torch.device(device or best_device())
    files = [f"{name}/{file.name}" if name else file.name for file in (folder / name).glob("*")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' warnings about each other do not help the operator
        loaded, report = network.from_pretrained(
            folder,
            subfolder=name,
            dtype=best_dtype(target),
            use_safetensors=True,
            variant=variant_of(files, name, is_half(device)),
            output_loading_info=True,
        )
    if missing := sorted(report["missing_keys"]):  # missing weights would be random, and so would the flags
        raise ValueError(f"it is another kind of network: {missing[0]} and {len(missing) - 1} more are missing")
    return loaded.to(target)
