"""A1111's stable-diffusion-webui and the many tools that write its parameters text, such as Forge and Civitai's generator."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from diffusion.errors import InvalidImageError
from diffusion.images.metadata.recipe import COMMENTS, Recipe, as_dict, as_list, as_text, parse_json
from diffusion.images.parameters import parse_settings, split_parameters

# What a setting whose name begins so stands for.
EXTENSIONS: Final = {
    "ControlNet": "ControlNet",
    "ADetailer": "ADetailer",
    "Refiner": "Refiner",
    "RP ": "Regional Prompter",
    "Tiled Diffusion": "Tiled Diffusion",
    "FreeU": "FreeU",
    "Dynamic thresholding enabled": "Dynamic Thresholding",
    "AddNet": "Additional Networks",
    "Postprocess upscaler": "Upscaler",
}
OWN_UPSCALERS: Final = ("", "Lanczos")
UPSCALES: Final = ("1", "2", "4", "1.0", "2.0", "4.0")
UNNAMED: Final = ("None", "[none]", "")


def read(texts: Mapping[str, str]) -> Recipe | None:
    """Read the first parameters text of ``texts``."""
    for name in COMMENTS:
        try:
            return parse_recipe(texts.get(name, ""))
        except InvalidImageError:
            continue
    return None


def parse_recipe(text: str) -> Recipe:
    """Parse a parameters text; raises `InvalidImageError` for any other text."""
    head, values = split_parameters(text)
    settings = parse_settings(head, values)
    schedule = values.get("Schedule type", "").removeprefix("Automatic")
    resources = [as_dict(each) for each in as_list(parse_json(values.get("Civitai resources")))]
    return Recipe(
        settings,
        values.get("Model") or _checkpoint(resources),
        f"{values.get('Sampler', '')} {schedule}".strip(),
        _has_source(values),
        tuple(_loras(values, resources)),
        tuple(dict.fromkeys(_left_out(values))),
    )


def _has_source(values: dict[str, str]) -> bool:
    """Whether it is img2img: a second pass after text-to-image has a strength, too."""
    hires = any(name.startswith("Hires") for name in values)
    return any(name.startswith(("Mask ", "Inpaint", "Masked ", "Edited picture")) for name in values) or (
        "Denoising strength" in values and not hires and "First pass size" not in values
    )


def _checkpoint(resources: list[dict[str, Any]]) -> str:
    for resource in resources:
        if _kind(resource) in ("checkpoint", "model"):
            names = (as_text(resource.get(field)) for field in ("modelName", "modelVersionName"))
            return " ".join(filter(None, names)) or as_text(resource.get("air"))
    return ""


def _loras(values: dict[str, str], resources: list[dict[str, Any]]) -> Iterator[str]:
    for resource in resources:
        if _kind(resource) in ("lora", "locon", "lycoris", "dora", "embed", "embedding", "textualinversion"):
            yield as_text(resource.get("modelName"), resource.get("air"), _kind(resource))
    for pair in filter(None, (part.strip() for part in values.get("Lora hashes", "").split(","))):
        yield pair.partition(":")[0].strip()


def _kind(resource: dict[str, Any]) -> str:
    """Return the kind of a resource, which newer files give in an address such as urn:air:sd1:lora:civitai:1@2."""
    parts = as_text(resource.get("air")).split(":")
    return as_text(resource.get("type"), parts[3] if len(parts) > 3 else "").lower()


def _left_out(values: dict[str, str]) -> Iterator[str]:
    for name, value in values.items():
        for prefix, extension in EXTENSIONS.items():
            if name.startswith(prefix) and value not in UNNAMED:
                yield extension
    if values.get("Hires upscale", "1") not in UPSCALES or values.get("Hires upscaler", "") not in OWN_UPSCALERS:
        yield "Hires. fix"
