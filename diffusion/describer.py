"""Describe pictures by a network: in sentences, or by tags."""

import csv
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

from diffusion.errors import ModelLoadError, reason_of
from diffusion.images.screening import shrink_for_screening
from diffusion.loading.hub import fetch
from diffusion.safety import is_half, load_from_transformers

CAPTIONERS: Final = ("blip", "blip-2", "git", "vision-encoder-decoder")  # they describe a picture without being asked
MAX_PROMPTS: Final = 4
MAX_NEW_TOKENS: Final = 60
TAGS_FILE: Final = "selected_tags.csv"  # as the WD taggers have it: tag_id,name,category,count
GENERAL: Final = "0"  # categories of that file
CHARACTER: Final = "4"
SURE: Final = 0.35  # probability from which a tag is true, as the WD taggers' author recommends
LIKELY: Final = 0.2
MAX_TAGS: Final = (24, 10, 5)  # of the prompts made from tags
LABELS_OF_ONE: Final = 4


class Describer(Protocol):
    """Returns prompts that would draw a picture again, the best first.

    Call it from one thread at a time, in `torch.inference_mode`.
    """

    def __call__(self, image: Image.Image) -> list[str]: ...  # noqa: D102


class Captioner:
    """A network that describes pictures in sentences."""

    def __init__(self, network: Any, processor: Any, tokenizer: Any) -> None:
        self.network = network.eval()
        self.processor = processor
        self.tokenizer = tokenizer

    def __call__(self, image: Image.Image) -> list[str]:
        """Describe a picture in as many ways as a beam search finds."""
        pixels = self.processor(images=image, return_tensors="pt").pixel_values
        found = self.network.generate(
            pixel_values=pixels.to(self.network.device, self.network.dtype),
            max_new_tokens=MAX_NEW_TOKENS,
            num_beams=MAX_PROMPTS,
            num_return_sequences=MAX_PROMPTS,
            do_sample=False,
        )
        return _distinct(self.tokenizer.batch_decode(found, skip_special_tokens=True))


class Tagger:
    """A classifier whose labels are tags.

    ``is_wd`` is whether it is one of the WD taggers, which take square pictures with the channels blue, green, red.
    """

    def __init__(self, network: Any, processor: Any, tags: Sequence[str | None], *, is_wd: bool) -> None:
        self.network = network.eval()
        self.processor = processor
        self.tags = tags
        self.is_wd = is_wd

    def __call__(self, image: Image.Image) -> list[str]:
        """List the tags in fewer and fewer words."""
        pixels: Tensor = self.processor(images=_on_square(image) if self.is_wd else image, return_tensors="pt").pixel_values
        if self.is_wd:
            pixels = pixels.flip(1)
        logits = self.network(pixels.to(self.network.device, self.network.dtype)).logits.float()[0]
        several = self.is_wd or self.network.config.problem_type == "multi_label_classification"
        scores = logits.sigmoid() if several else logits.softmax(0)
        ranked = [(scores[index].item(), tag) for index, tag in enumerate(self.tags) if tag]
        ranked.sort(key=lambda pair: -pair[0])
        if not several:
            return _distinct([tag for _, tag in ranked[:LABELS_OF_ONE]])
        sure = [tag for score, tag in ranked if score >= SURE]
        likely = [tag for score, tag in ranked if score >= LIKELY]
        lists = [*(sure[:most] for most in MAX_TAGS), likely[: MAX_TAGS[0]]]
        return _distinct([", ".join(tags) for tags in lists])


def describe(describer: Describer, image: Image.Image) -> list[str]:
    """Return prompts for a picture of any size."""
    with torch.inference_mode():
        return describer(shrink_for_screening(image))


def load_describer(source: str, device: str | None = None) -> Describer:
    """Load the network of a folder or hub id that describes pictures.

    Safetensors only. Raises `ModelLoadError`.
    """
    with ThreadPoolExecutor(1) as loader:  # ends afterwards, for the same reason as in `load_model`
        try:
            return loader.submit(_load, source, device).result()
        except ModelLoadError:
            raise
        except Exception as error:  # libraries raise anything for a network that they cannot load
            raise ModelLoadError(source, reason_of(error)) from error


def _load(source: str, device: str | None) -> Describer:
    folder = fetch(source, ("",), is_half(device))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = AutoConfig.from_pretrained(folder)
        processor = AutoImageProcessor.from_pretrained(folder)
        if config.model_type in CAPTIONERS:
            tokenizer = AutoTokenizer.from_pretrained(folder)
    if config.model_type in CAPTIONERS:
        return Captioner(load_from_transformers(AutoModelForImageTextToText, folder, device), processor, tokenizer)
    if not any(name.endswith("ForImageClassification") for name in config.architectures or ()) and not _has_tags(folder):
        known = ", ".join(CAPTIONERS)
        raise ValueError(f"a {config.model_type} does not describe pictures. Name one of the kinds {known}, or a tagger.")
    network = load_from_transformers(AutoModelForImageClassification, folder, device)
    labels = network.config.id2label
    tags = _read_tags(folder) if _has_tags(folder) else [_as_words(labels[index]) for index in range(len(labels))]
    if len(tags) != network.num_labels:
        raise ValueError(f"its {TAGS_FILE} names {len(tags)} tags, and the network has {network.num_labels}.")
    return Tagger(network, processor, tags, is_wd=_has_tags(folder))


def _has_tags(folder: Path) -> bool:
    return (folder / TAGS_FILE).is_file()


def _read_tags(folder: Path) -> list[str | None]:
    """Return what each output of a WD tagger means; None for ratings."""
    with (folder / TAGS_FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [_as_words(row["name"]) if row["category"] in (GENERAL, CHARACTER) else None for row in rows]


def _as_words(tag: str) -> str:
    """Return a tag as a prompt has it: with spaces, and with brackets that stand for themselves."""
    words = tag.replace("_", " ") if len(tag) > 3 else tag  # shorter ones are faces such as ^_^
    return words.replace("(", "\\(").replace(")", "\\)")


def _distinct(texts: Sequence[str]) -> list[str]:
    return [text for text in dict.fromkeys(" ".join(text.split()) for text in texts) if text][:MAX_PROMPTS]


def _on_square(image: Image.Image) -> Image.Image:
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
