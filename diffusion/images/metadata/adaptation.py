"""Convert a recipe of another tool to settings that a model here can follow."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from diffusion.images.metadata.recipe import Recipe
from diffusion.lora.catalogue import Lora
from diffusion.lora.tags import find_tags
from diffusion.prompts.chunks import without_unknown_embeddings
from diffusion.request import (
    DISTILLED,
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_UPSCALED_SIDE,
    MAX_VARIETY,
    SAMPLER_NAMES,
    UPSCALES,
    Limits,
)
from diffusion.text import N_, Text

# Samplers by the letters and digits of their names: the same ones here, then the nearest by a part of the name.
SAME_SAMPLERS: Final = {
    "lms": "lms",
    "ddim": "ddim",
    "euler": "euler",
    "eulera": "euler_a",
    "eulerancestral": "euler_a",
    "heun": "heun",
    "dpm2mkarras": "dpm++",
    "dpmpp2mkarras": "dpm++",
    "unipc": "unipc",
    "dpm2mk": "dpm++",
    "dpmpp2mk": "dpm++",
    "dpm2msde": "dpm++_2m_sde",
    "dpmpp2msde": "dpm++_2m_sde",
    "dpmpp2msdegpu": "dpm++_2m_sde",
    "dpm2msdekarras": "dpm++_2m_sde_karras",
    "dpmpp2msdekarras": "dpm++_2m_sde_karras",
    "dpmpp2msdegpukarras": "dpm++_2m_sde_karras",
    "dpmsde": "dpm++_sde",
    "dpmppsde": "dpm++_sde",
    "dpmsdekarras": "dpm++_sde_karras",
    "dpmppsdekarras": "dpm++_sde_karras",
    "dpm2": "dpm2",
    "deis": "deis",
    "plms": "pndm",
    "pndm": "pndm",
    "ddpm": "ddpm",
    "lcm": "lcm",
    "tcd": "tcd",
    "eulersgmuniform": "euler_trailing",
    "eulerasgmuniform": "euler_a_trailing",
    "ddimsgmuniform": "ddim_trailing",
    "eulerancestralsgmuniform": "euler_a_trailing",
}
SAMPLER_PREFIX: Final = "k_"  # of Katherine Crowson's samplers in NovelAI and old versions of InvokeAI
NEAREST_SAMPLERS: Final = (
    ("dpm", "dpm++"),
    ("unipc", "unipc"),
    ("eulera", "euler_a"),
    ("euler", "euler"),
    ("heun", "heun"),
    ("ddim", "ddim"),
    ("lms", "lms"),
)
LORA: Final = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>")
WEIGHT: Final = re.compile(r"\(([^()]*):\s*[\d.]+\s*\)")
MAX_PROMPT: Final = 4000  # characters; no model reads as many
PROMPT_FIELDS: Final = ("prompt", "negative_prompt")
MAX_GUIDANCE: Final = 30.0
NAME_SHOWN: Final = 50
PART_SHOWN: Final = 30
PARTS_SHOWN: Final = 4
CLAMPED: Final = {
    "steps": N_("Steps: {value} instead of {asked}."),
    "guidance_scale": N_("Guidance scale: {value} instead of {asked}."),
}


class Model(Protocol):
    """The limits that a model puts on a request."""

    name: str
    grid: int
    guide_labels: tuple[str, ...]
    samplers: Mapping[str, int]
    max_clip_skip: int
    chunk_tokens: int
    embeddings: Mapping[str, int]
    reads_negative_prompt: bool

    @property
    def loras(self) -> Mapping[str, Lora]: ...  # noqa: D102
    @property
    def max_tokens(self) -> int: ...  # noqa: D102
    def count_tokens(self, text: str) -> int: ...  # noqa: D102


def adapt(recipe: Recipe, model: Model, limits: Limits) -> tuple[dict[str, Any], list[Text]]:
    """Return the settings of ``recipe`` without its seed, and a note on each change.

    The settings fit ``model`` and ``limits``.
    """
    adaptation = _Adaptation(recipe, model, limits)
    adaptation.adapt_prompts()
    adaptation.adapt_loras()
    adaptation.adapt_size()
    adaptation.adapt_number("steps", 1, limits.steps)
    adaptation.adapt_number("guidance_scale", 0, MAX_GUIDANCE)
    adaptation.adapt_sampler()
    adaptation.adapt_variety()
    adaptation.adapt_clip_skip()
    adaptation.adapt_start()
    adaptation.adapt_guide_label()
    adaptation.adapt_model()
    adaptation.note_parts()
    return adaptation.settings, adaptation.notes


class _Adaptation:
    """The ``settings`` of a recipe that are adapted so far, and the ``notes`` on them."""

    def __init__(self, recipe: Recipe, model: Model, limits: Limits) -> None:
        self.recipe = recipe
        self.found = recipe.settings
        self.model = model
        self.limits = limits
        self.settings: dict[str, Any] = {}
        self.notes: list[Text] = []

    def adapt_prompts(self) -> None:
        for field in PROMPT_FIELDS:
            whole = self.found.get(field, "")
            text, unknown = without_unknown_embeddings(whole[:MAX_PROMPT], self.model.embeddings)
            if unknown:
                self.notes.append(
                    Text("These embeddings are not offered here, so they are left out: {names}.", names=_join_names(unknown))
                )
            text = _strip_syntax(text, keeps_weights=self.model.chunk_tokens > 0)
            self.settings[field] = _truncate(text, self.model)
            if self.settings[field] != text or len(whole) > MAX_PROMPT:
                name = field.replace("_", " ")
                self.notes.append(Text("The {field} is too long for this model, so its end is left out.", field=name))
        if self.settings["negative_prompt"] and not self.model.reads_negative_prompt:
            self.settings["negative_prompt"] = ""
            self.notes.append(Text("This model reads no negative prompt, so it is left out."))

    def adapt_loras(self) -> None:
        """Keep the LoRAs that the model has. Those without a known weight get 1."""
        offered = {lora.name.lower(): lora.name for lora in self.model.loras.values() if lora.problem is None}
        asked = _asked_loras(self.recipe)
        kept = {offered[name.lower()]: weight for name, weight in asked.items() if name.lower() in offered}
        kept = {name: weight for name, weight in kept.items() if abs(weight) <= MAX_LORA_WEIGHT}
        kept = dict(tuple(kept.items())[:MAX_LORAS])
        if kept:
            self.settings["loras"] = tuple(kept.items())
        if left_out := [name for name in asked if offered.get(name.lower()) not in kept]:
            names = _join_names(left_out)
            self.notes.append(Text("These LoRAs are not offered here, so they are left out: {names}.", names=names))

    def adapt_size(self) -> None:
        size = _fitting_size(self.found, self.model.grid, self.limits)
        if size is not None:
            self.settings["width"], self.settings["height"] = size
            asked = (self.found["width"], self.found["height"])
            if size != asked:
                self.notes.append(Text("Size: {size} instead of {asked}.", size=_format_size(size), asked=_format_size(asked)))
        upscale = self.found.get("upscale", 1)
        is_possible = upscale in UPSCALES and upscale * max(size or (0,)) <= MAX_UPSCALED_SIDE
        self.settings["upscale"] = upscale if is_possible else 1

    def adapt_number(self, field: str, least: float, most: float) -> None:
        asked = self.found.get(field)
        if asked is None or not math.isfinite(asked):
            return
        self.settings[field] = min(max(asked, least), most)
        if self.settings[field] != asked:
            self.notes.append(Text(CLAMPED[field], value=f"{self.settings[field]:g}", asked=f"{asked:g}"))

    def adapt_sampler(self) -> None:
        known = self.model.samplers
        same = _same_sampler(self.recipe)
        nearest = _nearest_sampler(self.recipe)
        same = same if same in known else None
        sampler = same or (nearest if nearest in known else None)
        if sampler:
            self.settings["sampler"] = sampler
        if same or not self.recipe.sampler:
            return
        if _same_sampler(self.recipe) == DISTILLED:  # its steps and guidance suit no other sampler
            self.settings = {name: value for name, value in self.settings.items() if name not in CLAMPED}
        name = _shorten_name(self.recipe.sampler)
        if sampler:
            self.notes.append(Text("Sampler: {instead} instead of {name}.", name=name, instead=SAMPLER_NAMES[sampler]))
        else:
            self.notes.append(Text("Sampler: the default instead of {name}.", name=name))

    def adapt_variety(self) -> None:
        asked = self.found.get("variety", -1)
        if 0 <= asked <= MAX_VARIETY:
            self.settings["variety"] = asked

    def adapt_clip_skip(self) -> None:
        """Take over the layer of the text encoder; some families always use the same one, whatever the file says."""
        asked = self.found.get("clip_skip", 1)
        if 1 < asked <= self.model.max_clip_skip:
            self.settings["clip_skip"] = asked

    def adapt_start(self) -> None:
        if self.found.get("start_step") or self.recipe.has_source:
            self.notes.append(Text("The file does not contain the picture that this one started from, so I start from noise."))

    def adapt_guide_label(self) -> None:
        label = self.found.get("guide_label")
        if not label:
            return
        if label in self.model.guide_labels:
            self.settings |= {field: self.found[field] for field in ("guide_label", "label_scale") if field in self.found}
        else:
            self.notes.append(Text("This model cannot steer to {label}.", label=_shorten_name(label)))

    def adapt_model(self) -> None:
        if self.recipe.model and self.recipe.model != self.model.name:
            name = _shorten_name(self.recipe.model)
            self.notes.append(Text("Model: {other} instead of {name}.", name=name, other=self.model.name))

    def note_parts(self) -> None:
        if self.recipe.left_out:
            names = _join_names(self.recipe.left_out)
            self.notes.append(Text("These parts are not supported, so they are left out: {names}.", names=names))
        if self.recipe.unread:
            names = _join_names(self.recipe.unread)
            self.notes.append(Text("I cannot read these parts of the file, so something may be missing: {names}.", names=names))


def _asked_loras(recipe: Recipe) -> dict[str, float]:
    """Return the LoRAs of ``recipe`` and their weights.

    Tags in the prompts have both. Without any, the names alone count, because they may be titles of the same LoRAs.
    """
    found = {str(name): float(weight) for name, weight in recipe.settings.get("loras") or ()}
    for field in PROMPT_FIELDS:
        for tag in LORA.finditer(recipe.settings.get(field, "")[:MAX_PROMPT]):
            _, loras = find_tags(tag[0])
            found |= dict(loras) or {tag[0].strip("<>").partition(":")[2].partition(":")[0]: math.inf}
    return found or {_file_stem(name): 1.0 for name in recipe.loras}


def _file_stem(name: str) -> str:
    """Return the name of a LoRA that other tools give as a path."""
    return re.split(r"[\\/]", name)[-1].removesuffix(".safetensors")


def _strip_syntax(text: str, *, keeps_weights: bool) -> str:
    """Remove the syntax of other tools: LoRAs, and weights where the model has none."""
    text = LORA.sub("", text)
    found = 0 if keeps_weights else 1
    while found:
        text, found = WEIGHT.subn(r"\1", text)
    return re.sub(r"\s*,(?:\s*,)+", ",", " ".join(text.split())).strip(", ")


def _truncate(text: str, model: Model) -> str:
    """Return as many words of ``text`` as the model reads, by binary search."""
    words = text.split(" ")
    least, most = 0, len(words)
    while least < most:
        middle = (least + most + 1) // 2
        if model.count_tokens(" ".join(words[:middle])) <= model.max_tokens:
            least = middle
        else:
            most = middle - 1
    return text if least == len(words) else " ".join(words[:least]).rstrip(", ")


def _fitting_size(found: dict[str, Any], grid: int, limits: Limits) -> tuple[int, int] | None:
    """Shrink the size to ``limits`` and to multiples of ``grid``."""
    width, height = found.get("width") or 0, found.get("height") or 0
    if width < 1 or height < 1:
        return None
    scale = min(1.0, limits.longest_side / max(width, height), (limits.side**2 / (width * height)) ** 0.5)
    return max(grid, int(width * scale) // grid * grid), max(grid, int(height * scale) // grid * grid)


def _format_size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _join_names(names: Sequence[str]) -> str:
    shown = ", ".join(_shorten_name(name)[:PART_SHOWN] for name in names[:PARTS_SHOWN])
    return f"{shown}, …" if len(names) > PARTS_SHOWN else shown


def _same_sampler(recipe: Recipe) -> str | None:
    return SAME_SAMPLERS.get(_letters(recipe.sampler.removeprefix(SAMPLER_PREFIX))) or recipe.settings.get("sampler")


def _nearest_sampler(recipe: Recipe) -> str | None:
    letters = _letters(recipe.sampler)
    return next((known for word, known in NEAREST_SAMPLERS if word in letters), None)


def _shorten_name(name: str) -> str:
    return " ".join(name.split())[:NAME_SHOWN]


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
