"""From how a picture was made elsewhere to a request that a model here can follow, with a note on each change."""

import math
import re
from typing import Any, Final, Protocol

from diffusion.images.metadata.read import Recipe
from diffusion.request import MAX_UPSCALED_SIDE, SAMPLER_NAMES, UPSCALES, Limits
from diffusion.text import N_, Text

# Samplers by the letters of their names: those that are the same here, then those of which one here is nearest.
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
MAX_PROMPT: Final = 4000  # characters that are looked at; no model reads as many
PROMPTS: Final = ("prompt", "negative_prompt")
MAX_GUIDANCE: Final = 30.0
NAME_SHOWN: Final = 50
LOWERED: Final = {
    "steps": N_("Steps: {value} instead of {asked}."),
    "guidance_scale": N_("Guidance scale: {value} instead of {asked}."),
}


class Model(Protocol):
    """What of a model bounds a request."""

    name: str
    latent_factor: int
    guide_labels: tuple[str, ...]

    @property
    def max_tokens(self) -> int: ...  # noqa: D102
    def count_tokens(self, text: str) -> int: ...  # noqa: D102


def adapt(recipe: Recipe, model: Model, limits: Limits) -> tuple[dict[str, Any], list[Text]]:
    """Give the settings of ``recipe``, but its seed, that ``model`` can follow within ``limits``, and a note on each change."""
    told = recipe.settings
    notes: list[Text] = []
    settings: dict[str, Any] = {}
    for field in PROMPTS:
        text = _plain(told.get(field, "")[:MAX_PROMPT])
        settings[field] = _shortened(text, model)
        if settings[field] != text or len(told.get(field, "")) > MAX_PROMPT:
            name = field.replace("_", " ")
            notes.append(Text("The {field} is longer than this model reads: its end is left out.", field=name))
    if any(LORA.search(told.get(field, "")[:MAX_PROMPT]) for field in PROMPTS):
        notes.append(Text("LoRAs are left out: there are none here."))
    if size := _size(told, model.latent_factor, limits.side):
        settings["width"], settings["height"] = size
        if size != (told["width"], told["height"]):
            here, there = f"{size[0]}x{size[1]}", f"{told['width']}x{told['height']}"
            notes.append(Text("The size becomes {size} instead of {asked}.", size=here, asked=there))
    upscale = told.get("upscale", 1)
    settings["upscale"] = upscale if upscale in UPSCALES and upscale * max(size or (0,)) <= MAX_UPSCALED_SIDE else 1
    for field, least, most in (("steps", 1, limits.steps), ("guidance_scale", 0, MAX_GUIDANCE)):
        asked = told.get(field)
        if asked is None or not math.isfinite(asked):
            continue
        settings[field] = min(max(asked, least), most)
        if settings[field] != asked:
            notes.append(Text(LOWERED[field], value=f"{settings[field]:g}", asked=f"{asked:g}"))
    if sampler := _sampler(recipe):
        settings["sampler"] = sampler
    if recipe.sampler and _same_sampler(recipe) is None:
        name = _short(recipe.sampler)
        if sampler:
            instead = SAMPLER_NAMES[sampler]
            notes.append(Text("There is no sampler {name} here: {instead} takes its place.", name=name, instead=instead))
        else:
            notes.append(Text("There is no sampler {name} here: my usual one takes its place.", name=name))
    if told.get("start_step"):
        notes.append(Text("It started from another picture, which is not in the file. This one starts from noise."))
    if told.get("guide_label") in model.guide_labels:
        settings |= {field: told[field] for field in ("guide_label", "label_scale") if field in told}
    elif told.get("guide_label"):
        notes.append(Text("Nothing steers to {label} here.", label=_short(told["guide_label"])))
    if recipe.model and recipe.model != model.name:
        notes.append(Text("It was made by the model {name}. Here {other} draws.", name=_short(recipe.model), other=model.name))
    return settings, notes


def _plain(text: str) -> str:
    """Take out of ``text`` what only other tools understand: LoRAs and weights."""
    text, found = LORA.sub("", text), 1
    while found:
        text, found = WEIGHT.subn(r"\1", text)
    return re.sub(r"\s*,(?:\s*,)+", ",", " ".join(text.split())).strip(", ")


def _shortened(text: str, model: Model) -> str:
    """Give as many of the words of ``text`` as the model reads, found by halves."""
    words = text.split(" ")
    least, most = 0, len(words)
    while least < most:
        middle = (least + most + 1) // 2
        if model.count_tokens(" ".join(words[:middle])) <= model.max_tokens:
            least = middle
        else:
            most = middle - 1
    return text if least == len(words) else " ".join(words[:least]).rstrip(", ")


def _size(told: dict[str, Any], factor: int, most: int) -> tuple[int, int] | None:
    """Shrink the size to ``most`` pixels a side and to whole latent cells, keeping its proportions."""
    width, height = told.get("width") or 0, told.get("height") or 0
    if width < 1 or height < 1:
        return None
    scale = min(1.0, most / max(width, height))
    return max(factor, int(width * scale) // factor * factor), max(factor, int(height * scale) // factor * factor)


def _same_sampler(recipe: Recipe) -> str | None:
    return SAME.get(_letters(recipe.sampler)) or recipe.settings.get("sampler")


def _sampler(recipe: Recipe) -> str | None:
    letters = _letters(recipe.sampler)
    return _same_sampler(recipe) or next((known for word, known in NEAREST if word in letters), None)


def _short(name: str) -> str:
    return " ".join(name.split())[:NAME_SHOWN]


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
