"""Convert a recipe of another tool to settings that a model here can follow."""

import math
import re
from typing import Any, Final, Protocol

from diffusion.images.metadata.read import Recipe
from diffusion.request import MAX_UPSCALED_SIDE, SAMPLER_NAMES, UPSCALES, Limits
from diffusion.text import N_, Text

# Samplers by the letters and digits of their names: the same ones here, then the nearest by a part of the name.
SAME: Final = {
    "lms": "lms",
    "ddim": "ddim",
    "euler": "euler",
    "eulera": "euler_a",
    "eulerancestral": "euler_a",
    "heun": "heun",
    "dpm2mkarras": "dpm++",
    "dpmpp2mkarras": "dpm++",
    "unipc": "unipc",
}
NEAREST: Final = (
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
PROMPTS: Final = ("prompt", "negative_prompt")
MAX_GUIDANCE: Final = 30.0
NAME_SHOWN: Final = 50
CLAMPED: Final = {
    "steps": N_("Steps: {value} instead of {asked}."),
    "guidance_scale": N_("Guidance scale: {value} instead of {asked}."),
}


class Model(Protocol):
    """The limits that a model puts on a request."""

    name: str
    latent_factor: int
    guide_labels: tuple[str, ...]

    @property
    def max_tokens(self) -> int: ...  # noqa: D102
    def count_tokens(self, text: str) -> int: ...  # noqa: D102


def adapt(recipe: Recipe, model: Model, limits: Limits) -> tuple[dict[str, Any], list[Text]]:
    """Return the settings of ``recipe`` without its seed, and a note on each change.

    The settings fit ``model`` and ``limits``.
    """
    found = recipe.settings
    notes: list[Text] = []
    settings: dict[str, Any] = {}
    for field in PROMPTS:
        text = _strip_syntax(found.get(field, "")[:MAX_PROMPT])
        settings[field] = _truncate(text, model)
        if settings[field] != text or len(found.get(field, "")) > MAX_PROMPT:
            name = field.replace("_", " ")
            notes.append(Text("The {field} is too long for this model, so its end is left out.", field=name))
    if any(LORA.search(found.get(field, "")[:MAX_PROMPT]) for field in PROMPTS):
        notes.append(Text("LoRAs are not supported, so they are left out."))
    if size := _size(found, model.latent_factor, limits.side):
        settings["width"], settings["height"] = size
        if size != (found["width"], found["height"]):
            here, there = f"{size[0]}x{size[1]}", f"{found['width']}x{found['height']}"
            notes.append(Text("Size: {size} instead of {asked}.", size=here, asked=there))
    upscale = found.get("upscale", 1)
    settings["upscale"] = upscale if upscale in UPSCALES and upscale * max(size or (0,)) <= MAX_UPSCALED_SIDE else 1
    for field, least, most in (("steps", 1, limits.steps), ("guidance_scale", 0, MAX_GUIDANCE)):
        asked = found.get(field)
        if asked is None or not math.isfinite(asked):
            continue
        settings[field] = min(max(asked, least), most)
        if settings[field] != asked:
            notes.append(Text(CLAMPED[field], value=f"{settings[field]:g}", asked=f"{asked:g}"))
    if sampler := _sampler(recipe):
        settings["sampler"] = sampler
    if recipe.sampler and _same_sampler(recipe) is None:
        name = _shorten_name(recipe.sampler)
        if sampler:
            instead = SAMPLER_NAMES[sampler]
            notes.append(Text("Sampler: {instead} instead of {name}.", name=name, instead=instead))
        else:
            notes.append(Text("Sampler: the default instead of {name}.", name=name))
    if found.get("start_step"):
        notes.append(Text("The file does not contain the picture that this one started from, so I start from noise."))
    if found.get("guide_label") in model.guide_labels:
        settings |= {field: found[field] for field in ("guide_label", "label_scale") if field in found}
    elif found.get("guide_label"):
        notes.append(Text("This model cannot steer to {label}.", label=_shorten_name(found["guide_label"])))
    if recipe.model and recipe.model != model.name:
        notes.append(Text("Model: {other} instead of {name}.", name=_shorten_name(recipe.model), other=model.name))
    return settings, notes


def _strip_syntax(text: str) -> str:
    """Remove the syntax of other tools: LoRAs and weights."""
    text, found = LORA.sub("", text), 1
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


def _size(found: dict[str, Any], factor: int, most: int) -> tuple[int, int] | None:
    """Shrink the size to ``most`` pixels a side and to whole latent cells."""
    width, height = found.get("width") or 0, found.get("height") or 0
    if width < 1 or height < 1:
        return None
    scale = min(1.0, most / max(width, height))
    return max(factor, int(width * scale) // factor * factor), max(factor, int(height * scale) // factor * factor)


def _same_sampler(recipe: Recipe) -> str | None:
    return SAME.get(_letters(recipe.sampler)) or recipe.settings.get("sampler")


def _sampler(recipe: Recipe) -> str | None:
    letters = _letters(recipe.sampler)
    return _same_sampler(recipe) or next((known for word, known in NEAREST if word in letters), None)


def _shorten_name(name: str) -> str:
    return " ".join(name.split())[:NAME_SHOWN]


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
